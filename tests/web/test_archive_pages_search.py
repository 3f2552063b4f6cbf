"""Finding archived messages on a page: by time, topic and words, by uuid and by the id of an event."""

from __future__ import annotations

from uuid import uuid4

import pytest

from pipeline import limits_archive
from tests.archive.texts import index
from tests.web.archive_site import PRIVATE, PUBLIC, TIME_MS, ArchiveSite, a_message
from tests.web.html import Page, assert_harmless, assert_labelled, links, load

SEARCH = "/archive/search"


def found(page: Page) -> list[str]:
    """Return the uuids of the messages a page lists."""
    return [link.rpartition("/")[2] for link in links(page) if link.startswith("/archive/messages/")]


async def test_messages_are_found_by_topic_and_time(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*(a_message(n, timestamp_ms=TIME_MS + n * 60_000) for n in range(5)))
    (other,) = await any_archive.store(a_message(9, topic="other"))
    uuids = [str(row.uuid) for row in rows]
    site = any_archive.site
    page = await load(site, f"{SEARCH}?topic={PUBLIC}")
    assert_labelled(page)
    assert_harmless(page)
    assert found(page) == uuids[::-1], "the newest first"
    assert set(found(await load(site, SEARCH))) == {*uuids, str(other.uuid)}
    some = await load(site, f"{SEARCH}?topic={PUBLIC}&start=2023-11-14T22:14&end=2023-11-14T22:16")
    assert found(some) == uuids[2:0:-1], "the end does not belong to a range"
    assert 'value="2023-11-14T22:14"' not in some.text
    fields = {given.get("name"): given.get("value") for tag, given in some.tags if tag == "input"}
    assert (fields["start"], fields["topic"]) == ("2023-11-14T22:14", PUBLIC)


async def test_messages_are_found_by_their_words(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*(a_message(n) for n in range(3)))
    texts = ("a bright nova", "a faint nova", "nothing of that kind")
    await index(
        any_archive.site.parts.database, {row.uuid: text for row, text in zip(rows, texts, strict=True)}
    )
    for words, wanted in (
        ("nova", [1, 0]),
        ("nova+-faint", [0]),
        ("%22bright+nova%22", [0]),
        ("comet", []),
    ):
        page = await load(any_archive.site, f"{SEARCH}?q={words}")
        assert found(page) == [str(rows[number].uuid) for number in wanted]
    assert "Words are found in topics whose text the policy has indexed." in page.text


async def test_an_id_leads_straight_to_its_message(archive: ArchiveSite) -> None:
    (row,) = await archive.store(a_message(key=b"f" * 32))
    for text in (str(row.uuid), row.uuid.hex.upper(), f" {row.uuid} ", "f" * 32):
        params = {"id": text, "topic": "another", "start": "2030-01-01", "end": "", "q": "words"}
        page_url = archive.site.url + SEARCH
        async with archive.site.client.get(page_url, params=params, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, f"/archive/messages/{row.uuid}")


async def test_all_messages_of_an_event_are_listed(archive: ArchiveSite) -> None:
    rows = await archive.store(a_message(0, key=b"event-7"), a_message(1, key=b"event-7"))
    await archive.store(a_message(2, key=b"event-7", topic=PRIVATE), public=False)
    page = await load(archive.site, f"{SEARCH}?id=event-7")
    assert set(found(page)) == {str(row.uuid) for row in rows}


async def test_an_id_nobody_has_or_may_see_is_not_found(archive: ArchiveSite) -> None:
    (private,) = await archive.store(a_message(topic=PRIVATE, key=b"secret-1"), public=False)
    for text in (str(uuid4()), str(private.uuid), "secret-1", "no uuid at all"):
        page = await load(archive.site, f"{SEARCH}?id={text}")
        assert "Nothing found under this id." in page.text
        assert found(page) == []


async def test_results_are_paged_both_ways_with_the_search_kept(archive: ArchiveSite) -> None:
    rows = await archive.store(*(a_message(n) for n in range(120)))
    seen: list[list[str]] = []
    path = f"{SEARCH}?topic={PUBLIC}&start=2023-11-14"
    while path:
        page = await load(archive.site, path)
        seen.append(found(page))
        turn = {
            given.get("rel"): given["href"] or ""
            for tag, given in page.tags
            if tag == "a" and given.get("rel")
        }
        path = turn.get("next", "").partition("#")[0]
        assert not path or f"topic={PUBLIC}&q=&start=2023-11-14" in path
    assert [uuid for part in seen for uuid in part] == [str(row.uuid) for row in reversed(rows)]
    assert [len(part) for part in seen] == [50, 50, 20]
    assert found(await load(archive.site, turn["prev"].partition("#")[0])) == seen[1]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("start=soon", "read the time 'soon'"),
        ("page=nonsense", "the mark is none this list gave out"),
        ("start=9" * 1, "read the time '9'"),
    ],
)
async def test_what_is_wrong_with_a_search_is_said_beside_its_fields(
    archive: ArchiveSite, query: str, why: str
) -> None:
    page = await load(archive.site, f"{SEARCH}?topic=kept&{query}")
    assert why in page.text
    fields = {given.get("name"): given.get("value") for tag, given in page.tags if tag == "input"}
    assert fields["topic"] == "kept"


async def test_a_search_longer_than_its_limit_is_refused(archive: ArchiveSite) -> None:
    page = await load(archive.site, f"{SEARCH}?q={'x' * (limits_archive.SEARCH_MAX_CHARACTERS + 1)}", 400)
    assert "read the query" in page.text
