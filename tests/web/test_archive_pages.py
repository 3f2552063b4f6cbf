"""Pages of the archive and of one topic: figures, plots with their tables, messages, what is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits_archive
from pipeline.archive.message import Message
from pipeline.clock import ManualClock
from pipeline.log.port import NewRecord, TopicSpec
from tests.databases import execute
from tests.web.archive_site import PRIVATE, PUBLIC, TIME_MS, ArchiveSite, a_message, archive_site
from tests.web.html import Page, assert_harmless, assert_labelled, links, load
from tests.web.site import PAGE, Site
from tests.web.start import STARTED
from tests.web.test_pages import HOSTILE

DAY = 86_400_000
TOPIC = f"/archive/topics/{PUBLIC}"
RANGE = "step=day&start=2023-11-13&end=2023-11-17"
"""Days around the time of messages."""


def days(count: int) -> list[Message]:
    """Make messages from the day of `TIME_MS` on: one the first day, two the second and so on."""
    offsets = [(day, number) for day in range(count) for number in range(day + 1)]
    return [
        a_message(offset, timestamp_ms=TIME_MS + day * DAY + number)
        for offset, (day, number) in enumerate(offsets)
    ]


def cells(page: Page, after: str) -> list[str]:
    """Return the words behind a text."""
    return page.text.partition(after)[2].split()


async def test_an_empty_archive_says_so(site: Site) -> None:
    page = await load(site, "/archive")
    assert "Nothing is archived yet." in page.text
    assert_labelled(page)
    assert (await load(site, "/archive/search")).text.endswith("Nothing found.")
    assert "the archive has no public messages" in (await load(site, "/archive/topics/none", 404)).text


async def test_every_topic_is_shown_with_its_figures(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*days(3))
    page = await load(any_archive.site, f"/archive?{RANGE}")
    assert_harmless(page)
    assert_labelled(page)
    size = f"{sum(row.size for row in rows) / 1024:.1f} KiB"
    line = cells(page, "Latest In this range ↓ By day")
    assert line[:9] == [PUBLIC, "6", *size.split(), "2023-11-14", "22:13", "2023-11-16", "22:13", "6"]
    assert page.text.count(f"{size}") >= 2, "once for the topic, once for all"
    assert f"{TOPIC}?step=day&start=2023-11-13&end=2023-11-17" in links(page)


async def test_topics_that_are_not_public_are_not_shown(archive: ArchiveSite) -> None:
    await archive.store(a_message())
    await archive.store(a_message(1, topic=PRIVATE), a_message(2), public=False)
    page = await load(archive.site, "/archive")
    assert PRIVATE not in page.text
    await load(archive.site, f"/archive/topics/{PRIVATE}", 404)
    listed = await load(archive.site, TOPIC)
    assert [link for link in links(listed) if link.startswith("/archive/messages/")] == [
        f"/archive/messages/{row.uuid}" for row in await _public_rows(archive)
    ]


async def _public_rows(archive: ArchiveSite) -> list[Any]:
    found = await archive.list("/messages", meta=True)
    return [await archive.row(one["annotations"]["con_text_uuid"]) for one in found["messages"]]


async def test_topics_are_sorted_by_links_either_way(site: Site) -> None:
    archive = ArchiveSite(site, site.folder)
    for number, (topic, count) in enumerate((("b.two", 2), ("c.three", 3), ("a.one", 1))):
        await archive.store(
            *(
                a_message(n, topic=topic, timestamp_ms=TIME_MS + number * DAY + n, value=b"x" * count * 99)
                for n in range(count)
            )
        )
    orders = {}
    start = await load(site, f"/archive?{RANGE}")
    for link in [link for link in links(start) if "sort=" in link and "topics-head" in link]:
        once = await load(site, link.partition("#")[0])
        [again] = [other for other in links(once) if other.startswith(link.partition("&order")[0] + "&")][
            -1:
        ]
        column = re.search(r"sort=(\w+)", link)
        assert column is not None
        orders[column[1]] = [_topics_of(page) for page in (once, await load(site, again.partition("#")[0]))]
    up = ["a.one", "b.two", "c.three"]
    assert orders["topic"] == [up, up[::-1]]
    assert orders["messages"] == orders["bytes"] == [up[::-1], up]
    assert orders["range"] == [up, up[::-1]], "it is what the page is sorted by before"
    assert (
        orders["latest"]
        == orders["earliest"]
        == [["a.one", "c.three", "b.two"], ["b.two", "c.three", "a.one"]]
    )


def _topics_of(page: Page) -> list[str]:
    found = [re.match(r"/archive/topics/([\w.]+)", link) for link in links(page)]
    return [match[1] for match in found if match]


async def test_a_part_of_a_name_finds_topics(site: Site) -> None:
    archive = ArchiveSite(site, site.folder)
    await archive.store(a_message(topic="one"), a_message(1, topic="two"))
    assert _topics_of(await load(site, "/archive?name=w")) == ["two"]
    assert "No topic has such a name." in (await load(site, "/archive?name=three")).text


@pytest.mark.parametrize("path", ["/archive", TOPIC])
async def test_a_plot_and_its_table_have_the_same_figures(archive: ArchiveSite, path: str) -> None:
    rows = await archive.store(*days(3))
    page = await load(archive.site, f"{path}?{RANGE}")
    for number, day in enumerate(range(13, 17)):
        mine = [row.size for row in rows if row.timestamp // DAY == (TIME_MS // DAY) + number - 1]
        title = f"2023-11-{day} 00:00 to 2023-11-{day + 1} 00:00 UTC: {len(mine)} messages,"
        assert title in page.text
        assert f"2023-11-{day} 00:00 {len(mine)} {sum(mine):,}" in page.text
    bars = [given for tag, given in page.tags if tag == "rect" and given["class"] == "bar"]
    heights = [float(bar["height"] or 0) for bar in bars][:3]
    assert heights == sorted(heights)
    assert heights[2] == pytest.approx(heights[0] * 3, abs=0.1)
    [image] = [given for tag, given in page.tags if tag == "svg" and given["class"] == "plot"]
    assert image["role"] == "img"
    named = {given.get("id") for tag, given in page.tags if tag in {"title", "desc"}}
    assert {image["aria-labelledby"], image["aria-describedby"]} <= named


async def test_a_bar_leads_to_its_messages(archive: ArchiveSite) -> None:
    rows = await archive.store(*days(3))
    page = await load(archive.site, f"{TOPIC}?{RANGE}")
    [link] = [link for link in links(page) if "search" in link and "start=2023-11-15T00:00" in link]
    found = await load(archive.site, link)
    wanted = {f"/archive/messages/{row.uuid}" for row in rows[1:3]}
    assert {link for link in links(found) if "/messages/" in link} == wanted


async def test_a_range_is_chosen_by_links_and_by_fields(archive: ArchiveSite) -> None:
    await archive.store(*days(3))
    page = await load(archive.site, TOPIC)
    assert "5 messages" in page.text, "at first the newest 48 hours are shown of so short a time"
    steps = [link for link in links(page) if link.startswith(f"{TOPIC}?step=") and "start=" not in link]
    assert len(steps) == 3
    for link in steps:
        assert " messages, " in (await load(archive.site, link)).text
    fields = {
        given["name"]: given for tag, given in page.tags if tag in {"input", "select"} and given.get("name")
    }
    assert fields["start"]["type"] == fields["end"]["type"] == "datetime-local"
    chosen = await load(archive.site, f"{TOPIC}?step=day&start=2023-11-15T00:00&end=2023-11-16T00:00")
    assert "2 messages" in chosen.text
    moved = [link for link in links(chosen) if "start=" in link and link.startswith(f"{TOPIC}?step=day")]
    texts = [(await load(archive.site, link)).text for link in moved[:2]]
    assert "1 messages" in texts[0], "earlier"
    assert "3 messages" in texts[1], "later"


@pytest.mark.parametrize(
    ("query", "why", "status"),
    [
        ("start=yesterday", "read the time 'yesterday'", 400),
        ("start=2023-11-17&end=2023-11-16", "it ends before it begins", 400),
        ("step=hour&start=2020-01-01&end=2023-01-01", "choose a shorter range or longer steps", 413),
        ("start=<script>", "read the time '<script>'", 400),
        ("start=0001-01-01&end=0001-01-02&step=hour", "1970-01-01", 200),
        ("start=9999-12-31T23:59&end=", "9998-12", 200),
    ],
)
async def test_a_wrong_range_is_explained(archive: ArchiveSite, query: str, why: str, status: int) -> None:
    await archive.store(a_message())
    for path in ("/archive", TOPIC):
        page = await load(archive.site, f"{path}?{query}", status)
        assert why in page.text
        assert_harmless(page)


async def test_figures_that_take_too_long_leave_the_rest_of_the_page(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = await archive.store(a_message())
    monkeypatch.setattr(limits_archive, "ARCHIVE_FIGURES_SECONDS", 0.0)
    overview = await load(archive.site, "/archive")
    assert "choose a shorter range, or one topic" in overview.text
    assert PUBLIC in overview.text
    page = await load(archive.site, TOPIC)
    assert "find the gaps of topic" in page.text
    assert f"/archive/messages/{row.uuid}" in links(page)


async def test_messages_are_paged_both_ways_the_newest_first(archive: ArchiveSite) -> None:
    rows = await archive.store(*(a_message(n) for n in range(60)))
    newest = [f"/archive/messages/{row.uuid}" for row in rows[::-1]]
    seen, path, pages = [], f"{TOPIC}?step=day", []
    while path:
        pages.append(path)
        page = await load(archive.site, path)
        seen.append([link for link in links(page) if "/messages/" in link])
        path = _related(page, "next")
    assert [link for part in seen for link in part] == newest
    back = _related(page, "prev")
    assert [link for link in links(await load(archive.site, back)) if "/messages/" in link] == seen[-2]


def _related(page: Page, rel: str) -> str:
    found = [given["href"] or "" for tag, given in page.tags if tag == "a" and given.get("rel") == rel]
    return found[0].partition("#")[0] if found else ""


async def test_what_is_missing_is_shown_with_what_the_log_says(archive: ArchiveSite) -> None:
    log = archive.site.parts.log
    await log.create_topics([TopicSpec(PUBLIC, 2)])
    await log.append([NewRecord(PUBLIC, None, b"x", partition=0) for _ in range(6)])
    await archive.store(*(a_message(offset) for offset in (0, 2, 4, 5)))
    await archive.store(*(a_message(offset, partition=1) for offset in (8, 20)))
    page = await load(archive.site, TOPIC)
    assert "What is not archived 3 gaps, 13 offsets" in page.text
    assert cells(page, "first last from to")[:18] == [
        *("0", "0", "5", "4", "2", "2", "0", "5", "0"),
        *("1", "8", "20", "2", "1", "11", "nothing", "0"),
        "Gaps",
    ]
    for offset in ("1 1", "3 3"):
        assert f"0 {offset} 1 Still readable in the log" in page.text
    assert "1 9 19 11 Not archived" in page.text, "the log does not reach so far"
    assert "lost" not in page.text.partition("What is not archived")[2].replace("need not mean lost", "")


async def test_a_complete_topic_is_said_to_be_so(archive: ArchiveSite) -> None:
    await archive.store(a_message(0), a_message(1))
    text = (await load(archive.site, TOPIC)).text
    assert "Between the first and the last archived offset nothing is missing." in text
    assert "The log was not asked" in text, "it has no such topic"


async def test_parked_messages_and_retractions_are_marked(archive: ArchiveSite) -> None:
    rows = await archive.store(a_message(0), a_message(3))
    await archive.change(rows[0], retracted=True)
    aside = (
        "INSERT INTO archive_parked "
        "VALUES ('p', '', 'alerts.public', 0, 2, 1, 'parked/p', 'why', '2024-01-01 00:00:00')"
    )
    await execute(archive.site.parts.database, [aside])
    page = await load(archive.site, TOPIC)
    assert page.text.count("retracted") == 1
    assert "1 parked." in page.text
    assert "1 parked" in (await load(archive.site, "/archive")).text


async def test_nothing_a_stranger_wrote_is_markup(archive: ArchiveSite) -> None:
    for number, text in enumerate(HOSTILE):
        value = text.encode()
        headers = (("title", value), ("_sender", value), ("_format", value), (text, value))
        (row,) = await archive.store(a_message(number, headers=headers, value=value, key=value))
        await archive.change(row, media_type=text.replace("\x00", ""))
    for path in ("/archive", TOPIC, f"/archive/search?topic={PUBLIC}"):
        page = await load(archive.site, path)
        assert_harmless(page)
        for link in [link for link in links(page) if "/messages/" in link]:
            assert_harmless(await load(archive.site, link))


@pytest.mark.parametrize("text", HOSTILE[:6])
async def test_a_hostile_query_is_shown_as_text(archive: ArchiveSite, text: str) -> None:
    await archive.store(a_message())
    for path, names in (("/archive", ("name",)), ("/archive/search", ("topic", "q", "id"))):
        for name in names:
            async with archive.site.client.get(
                archive.site.url + path, params={name: text}, headers=PAGE
            ) as response:
                body = await response.text()
                assert response.status == 200, body
            assert_harmless(Page(body))


async def test_every_link_of_the_archive_leads_somewhere(archive: ArchiveSite) -> None:
    await archive.store(*(a_message(n) for n in range(0, 60, 2)))
    seen: set[str] = set()
    for path in ("/archive", TOPIC, f"/archive/search?topic={PUBLIC}"):
        seen |= {link.partition("#")[0] for link in links(await load(archive.site, path)) if link[0] == "/"}
    # Programs get JSON and bytes; the links of bars are all alike.
    few = [link for link in seen if "search?" not in link] + sorted(
        link for link in seen if "search?" in link
    )[:5]
    for link in few:
        async with archive.site.client.get(archive.site.url + link) as response:
            assert response.status == 200, link
    assert len(few) > 30


async def test_the_bytes_of_all_topics_are_added_up_once_a_minute_for_many_looks(tmp_path: Path) -> None:
    clock = ManualClock(STARTED)
    async with archive_site(tmp_path, clock) as archive:
        rows = await archive.store(a_message(0))
        assert f"{rows[0].size} bytes" in await _titles(archive)
        rows += await archive.store(a_message(1))
        assert f"{rows[0].size} bytes" in await _titles(archive)
        clock.advance(limits_archive.ARCHIVE_BYTES_SECONDS)
        assert f"{sum(row.size for row in rows):,} bytes" in await _titles(archive)


async def _titles(archive: ArchiveSite) -> list[str]:
    page = await load(archive.site, "/archive")
    return [given["title"] or "" for _, given in page.tags if "title" in given]
