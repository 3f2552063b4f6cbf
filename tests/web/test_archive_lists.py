"""Lists of archived messages: pages that meet without gaps, lengths that hold, nothing private in them."""

from __future__ import annotations

import zlib
from typing import Any

import bson
import msgspec
import pytest

from pipeline import limits, limits_archive
from pipeline.archive import listing
from pipeline.archive.lookup import ArchivedRow
from tests.stores import bytes_of
from tests.web.archive_site import PRIVATE, PUBLIC, TIME_MS, ArchiveSite, a_message


def _numbers(answer: dict[str, Any]) -> list[int]:
    """Return the numbers of the messages of a full list, in order."""
    return [int(message["message"].split()[1]) for message in answer["messages"]]


def _uuids(answer: dict[str, Any]) -> list[str]:
    return [message["annotations"]["con_text_uuid"] for message in answer["messages"]]


async def test_a_list_holds_the_objects_byte_for_byte(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*(a_message(n) for n in range(3)))
    answer = await any_archive.ask(f"/topic/{PUBLIC}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/bson"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert list(answer.document) == ["next", "prev", "messages"]
    for row in rows:
        assert await any_archive.object(row) in answer.body
    assert _numbers(answer.document) == [0, 1, 2]


async def test_an_empty_list_is_a_list(any_archive: ArchiveSite) -> None:
    paths = (
        f"/topic/{PUBLIC}",
        "/messages",
        "/topic/no%20topic",
        "/topic/%00",
        "/topic/%ff",
        "/topic/%ed%a0%80",
    )
    for path in (*paths, "/messages?topic=%00&search_query=%00"):
        assert await any_archive.list(path) == {"next": None, "prev": None, "messages": []}


@pytest.mark.parametrize("asc", [True, False])
@pytest.mark.parametrize("path", [f"/topic/{PUBLIC}", "/messages"])
async def test_pages_meet_in_both_directions(any_archive: ArchiveSite, path: str, asc: bool) -> None:
    for number in range(20):  # one by one: of messages with the same time, the order of arrival counts
        await any_archive.store(a_message(number, timestamp_ms=TIME_MS + number // 4))
    wanted = list(range(20)) if asc else list(range(19, -1, -1))
    seen: list[int] = []
    marks: list[dict[str, Any]] = []
    mark = None
    while mark is not None or not seen:
        page = await any_archive.list(path, limit=3, asc=asc, **({"page": mark} if mark else {}))
        seen += _numbers(page)
        marks.append(page)
        mark = page["next"]
    assert seen == wanted
    assert marks[0]["prev"] is None
    back: list[int] = []
    mark = marks[-1]["prev"]
    while mark is not None:
        page = await any_archive.list(path, limit=3, asc=asc, page=mark)
        back = _numbers(page) + back
        assert page["next"] is not None
        mark = page["prev"]
    assert back == wanted[: -len(marks[-1]["messages"])]


async def test_what_comes_in_between_shifts_no_page(any_archive: ArchiveSite) -> None:
    await any_archive.store(*(a_message(n) for n in range(10, 20)))
    first = await any_archive.list("/messages", limit=4)
    # Messages arrive late, before the first page, and inside it, and new ones at the end.
    await any_archive.store(*(a_message(n) for n in (1, 2, 30)))
    second = await any_archive.list("/messages", limit=4, page=first["next"])
    assert (_numbers(first), _numbers(second)) == ([10, 11, 12, 13], [14, 15, 16, 17])
    back = await any_archive.list("/messages", limit=4, page=second["prev"])
    assert _numbers(back) == [10, 11, 12, 13]
    before = await any_archive.list("/messages", limit=4, page=back["prev"])
    assert (_numbers(before), before["prev"]) == ([1, 2], None)
    third = await any_archive.list("/messages", limit=4, page=second["next"])
    assert (_numbers(third), third["next"]) == ([18, 19, 30], None)


async def test_a_page_whose_messages_are_gone_still_leads_back(archive: ArchiveSite) -> None:
    rows = await archive.store(*(a_message(n) for n in range(4)))
    first = await archive.list("/messages", limit=2)
    for row in rows[2:]:
        await archive.change(row, topic="elsewhere", public=False)
    empty = await archive.list("/messages", limit=2, page=first["next"])
    assert (empty["messages"], empty["next"]) == ([], None)
    assert _numbers(await archive.list("/messages", limit=2, page=empty["prev"])) == [0, 1]


@pytest.mark.parametrize("mark", ["x", "AAAA", "!!!", "A" * 23, "MTIzNDU2Nzg5MDEyMzQ1Njc", "é"])
async def test_a_mark_that_is_none_of_ours_is_a_400(archive: ArchiveSite, mark: str) -> None:
    answer = await archive.ask("/messages", params={"page": mark})
    assert answer.status == 400
    assert "mark" in answer.message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, "Invalid message count limit"),
        ({"limit": "-1", "meta": "true"}, "Invalid message count limit"),
        ({"start_time": "2", "end_time": "1"}, "Invalid time range"),
    ],
)
@pytest.mark.parametrize("path", ["/messages", f"/topic/{PUBLIC}"])
async def test_what_makes_no_sense_is_a_400(
    archive: ArchiveSite, path: str, query: dict[str, str], message: str
) -> None:
    answer = await archive.ask(path, params=query)
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize(
    "query", [{"limit": "x"}, {"asc": "maybe"}, {"start_time": "1" * 30}, {"end_time": ""}]
)
async def test_what_cannot_be_read_is_a_400(archive: ArchiveSite, query: dict[str, str]) -> None:
    assert (await archive.ask("/messages", params=query)).status == 400


async def test_limits_are_lowered_silently_and_unknown_parameters_ignored(archive: ArchiveSite) -> None:
    await archive.store(*(a_message(n) for n in range(70)))
    assert len((await archive.list("/messages"))["messages"]) == 64
    assert len((await archive.list("/messages", limit=10**6, color="red"))["messages"]) == 64
    assert len((await archive.list("/messages", limit=10**6, meta=True))["messages"]) == 70


async def test_the_range_of_times_is_half_open(any_archive: ArchiveSite) -> None:
    await any_archive.store(*(a_message(n) for n in range(6)))
    span = {"start_time": TIME_MS + 1, "end_time": TIME_MS + 4}
    assert _numbers(await any_archive.list("/messages", **span)) == [1, 2, 3]
    assert (await any_archive.list("/messages/count", **span))["count"] == 3
    nothing = {"start_time": TIME_MS, "end_time": TIME_MS}
    assert (await any_archive.list("/messages", **nothing))["messages"] == []


async def test_retracted_messages_are_left_out_on_request(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*(a_message(n) for n in range(3)))
    await any_archive.change(rows[1], retracted=True)
    assert _numbers(await any_archive.list("/messages")) == [0, 1, 2]
    assert _numbers(await any_archive.list("/messages", include_retracted=False)) == [0, 2]
    assert (await any_archive.list("/messages/count", include_retracted=False))["count"] == 2


async def test_several_topics_are_merged_by_time(any_archive: ArchiveSite) -> None:
    topics = ["a.one", "a.two", "a.three"]
    await any_archive.store(*(a_message(n, topic=topics[n % 3]) for n in range(9)))
    both = [("topic", "a.one"), ("topic", "a.three"), ("limit", "4")]
    answer = await any_archive.ask("/messages", params=both)
    assert _numbers(answer.document) == [0, 2, 3, 5]
    more = await any_archive.ask("/messages", params=[*both, ("page", answer.document["next"])])
    assert _numbers(more.document) == [6, 8]
    many = [
        ("topic", name)
        for name in (*topics, *(f"other{n}" for n in range(limits_archive.ARCHIVE_TOPICS_APART)))
    ]
    assert _numbers((await any_archive.ask("/messages", params=many)).document) == list(range(9))
    assert (await any_archive.ask("/messages/count", params=both[:2])).document == {"count": 6}


async def test_oversized_messages_have_a_topic_of_their_own(archive: ArchiveSite) -> None:
    await archive.store(a_message(1), a_message(2, topic=f"{PUBLIC}+oversized"))
    assert _numbers(await archive.list(f"/topic/{PUBLIC}")) == [1]
    assert _numbers(await archive.list(f"/topic/{PUBLIC}+oversized")) == [2]
    assert _numbers(await archive.list(f"/topic/{PUBLIC}%2Boversized")) == [2]


async def test_what_is_known_about_messages_comes_without_their_payloads(archive: ArchiveSite) -> None:
    (row,) = await archive.store(
        a_message(headers=(("title", b"T"), ("_sender", b"me"), ("file_name", b"f")))
    )
    old = await archive.put_first_generation(b"x")
    answer = await archive.list("/messages", meta=True)
    assert list(answer) == ["messages", "next", "prev"]
    first, second = sorted(answer["messages"], key=lambda each: bool(each["metadata"].get("layout")))
    assert first == {
        "metadata": {"topic": PUBLIC, "timestamp": row.timestamp},
        "annotations": {
            "con_text_uuid": str(row.uuid),
            "size": row.size,
            "crc32": row.crc32,
            "public": True,
            "con_message_crc32": zlib.crc32(b"message 0"),
            "title": "T",
            "sender": "me",
            "media_type": row.media_type,
            "file_name": "f",
            "originator": "",
            "retracted": False,
        },
    }
    assert second["metadata"] == {"topic": PUBLIC, "timestamp": old.timestamp, "layout": 1}


async def test_lists_are_json_for_those_who_prefer_it(archive: ArchiveSite) -> None:
    await archive.store(*(a_message(n) for n in range(3)))
    for path, members in (
        ("/messages?limit=2", {"next", "prev", "messages"}),
        ("/messages?meta=true", {"next", "prev", "messages"}),
        ("/messages/count", {"count"}),
        ("/topics", {"topics"}),
    ):
        answer = await archive.ask(path, headers={"Accept": "application/json"})
        assert answer.headers["Content-Type"].startswith("application/json")
        document = msgspec.json.decode(answer.body)
        assert set(document) == members
        if "limit" in path:
            texts = [each["message"]["$binary"]["base64"] for each in document["messages"]]
            assert texts == ["bWVzc2FnZSAw", "bWVzc2FnZSAx"]


# --- who sees what ---


async def test_nobody_sees_private_messages_but_readers(any_archive: ArchiveSite) -> None:
    await any_archive.store(a_message(0), a_message(1, topic=PRIVATE))
    await any_archive.store(a_message(2), a_message(3, topic=PRIVATE), public=False)
    bearer: dict[str, Any] = {"headers": {"Authorization": "Bearer a token of dave"}}
    for path, public, dave in (
        ("/messages", [0, 1], [0, 1, 3]),
        (f"/topic/{PRIVATE}", [1], [1, 3]),
        (f"/topic/{PUBLIC}", [0], [0]),
    ):
        assert _numbers(await any_archive.list(path)) == public
        assert _numbers((await any_archive.ask(path, **bearer)).document) == dave
        assert _numbers((await any_archive.ask_as("nobody", path)).document) == public
    assert (await any_archive.list("/messages/count"))["count"] == 2
    assert (await any_archive.ask("/messages/count", **bearer)).document == {"count": 3}


async def test_topics_are_those_with_a_message_to_see(any_archive: ArchiveSite) -> None:
    await any_archive.store(a_message(0), a_message(1, topic="other.public"))
    await any_archive.store(a_message(2, topic=PRIVATE), a_message(3, topic="other.private"), public=False)
    assert (await any_archive.list("/topics"))["topics"] == [PUBLIC, "other.public"]
    readers = (await any_archive.ask_as("reader", "/topics")).document["topics"]
    assert readers == [PRIVATE, PUBLIC, "other.public"]


async def test_a_search_shows_private_messages_to_readers_only(any_archive: ArchiveSite) -> None:
    from pipeline.archive.text.index import IndexedText, insert_texts
    from pipeline.archive.text.text import Text

    rows = await any_archive.store(a_message(0), a_message(1))
    rows += await any_archive.store(a_message(2, topic=PRIVATE), public=False)
    database = any_archive.site.parts.database
    texts = [IndexedText(row.uuid, Text(f"comet number{n}", True)) for n, row in enumerate(rows)]
    await database.write("test", lambda connection: insert_texts(connection, database.kind, texts))
    assert _numbers(await any_archive.list("/messages", search_query="comet")) == [0, 1]
    assert _numbers(await any_archive.list("/messages", search_query="comet -number0")) == [1]
    assert (await any_archive.list("/messages/count", search_query="comet or nothing"))["count"] == 2
    answer = await any_archive.ask_as("reader", "/messages", params={"search_query": "comet"})
    assert _numbers(answer.document) == [0, 1, 2]
    assert (await any_archive.ask("/messages", params={"search_query": "x" * 5000})).status == 400


# --- objects that are packed, missing, damaged, large ---


class _Counted:
    """A store that counts what is read from it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.reads: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, key: str, **span: int) -> Any:
        self.reads.append((key, span["first"]))
        return await self._store.get(key, **span)


async def test_messages_side_by_side_in_a_pack_are_read_together(any_archive: ArchiveSite) -> None:
    from pipeline.archive.documents import read_documents

    rows = await any_archive.store(*(a_message(n) for n in range(10)), packed=True)
    for asc in (True, False):
        numbers = list(range(10))
        assert _numbers(await any_archive.list("/messages", asc=asc)) == (numbers if asc else numbers[::-1])
    counted: Any = _Counted(any_archive.site.parts.archived)
    wanted = [rows[n] for n in (7, 1, 2, 3, 8, 5)]
    found = await read_documents(counted, wanted)
    assert set(found) == {row.uuid for row in wanted}
    places = {(rows[n].key, rows[n].pack_offset) for n in (1, 5, 7)}
    assert set(counted.reads) == places
    assert len(counted.reads) == len(places)


@pytest.mark.parametrize("accept", ["application/bson", "application/json"])
async def test_what_is_missing_or_damaged_is_left_out_and_counted(
    archive: ArchiveSite, accept: str
) -> None:
    rows = await archive.store(*(a_message(n) for n in range(6)))
    store = archive.site.parts.archived
    await store.delete(rows[1].key)
    await store.put(rows[3].key, bytes_of(rows[3].size))
    await store.put(rows[4].key, await archive.object(rows[4]) + b"more")
    answer = await archive.ask("/messages", headers={"Accept": accept}, params={"limit": "5"})
    assert answer.status == 200
    assert answer.headers["X-Archive-Omitted"] == "3"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    document = msgspec.json.decode(answer.body) if accept.endswith("json") else bson.decode(answer.body)
    assert len(document["messages"]) == 2
    rest = await archive.list("/messages", page=document["next"])
    assert _numbers(rest) == [5]


async def test_of_a_pack_that_is_cut_off_the_rest_is_listed(archive: ArchiveSite) -> None:
    rows = await archive.store(*(a_message(n) for n in range(8)), packed=True)
    store = archive.site.parts.archived
    data = b"".join([chunk async for chunk in await store.get(rows[0].key)])
    await store.put(rows[0].key, data[: (rows[5].pack_offset or 0) + 10])
    answer = await archive.ask("/messages")
    assert _numbers(answer.document) == [0, 1, 2, 3, 4]
    assert answer.headers["X-Archive-Omitted"] == "3"


async def test_pages_end_where_their_objects_get_too_large_together(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await archive.store(*(a_message(n) for n in range(7)))
    monkeypatch.setattr(limits_archive, "ARCHIVE_LIST_BYTES", 3 * max(row.size for row in rows))
    pages: list[list[int]] = []
    mark: str | None = ""
    while mark is not None:
        page = await archive.list("/messages", **({"page": mark} if mark else {}))
        pages.append(_numbers(page))
        mark = page["next"]
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]
    last = await archive.list("/messages", page=page["prev"])
    assert _numbers(last) == [3, 4, 5]


async def test_a_message_larger_than_a_page_comes_alone(
    any_archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_LIST_BYTES", limits.MIB)
    large = b"message 1 " + bytes_of(3 * limits.MIB)
    rows = await any_archive.store(a_message(0), a_message(1, value=large), a_message(2))
    first = await any_archive.list("/messages")
    second = await any_archive.list("/messages", page=first["next"])
    assert (_numbers(first), second["messages"][0]["message"]) == ([0], large)
    third = await any_archive.list("/messages", page=second["next"])
    assert _numbers(third) == [2]
    # Damaged, it is left out like any other.
    data = await any_archive.object(rows[1])
    await any_archive.site.parts.archived.put(rows[1].key, data[:-9] + b"damaged!!")
    answer = await any_archive.ask("/messages", params={"page": first["next"]})
    assert (answer.document["messages"], answer.headers["X-Archive-Omitted"]) == ([], "1")
    assert int(answer.headers["Content-Length"]) == len(answer.body)


async def test_a_page_of_rows_alone_knows_its_neighbours(archive: ArchiveSite) -> None:
    """What pages for people use: every message is seen, also private ones."""
    await archive.store(*(a_message(n) for n in range(5)), public=False)
    database = archive.site.parts.database
    wanted = listing.Wanted(private_topics=None)
    page = await listing.read_page(database, wanted, limit=2, ascending=False)
    assert [_offset(row) for row in page.rows] == [4, 3]
    assert page.next is not None
    further = await listing.read_page(database, wanted, limit=2, ascending=False, mark=page.next)
    assert [_offset(row) for row in further.rows] == [2, 1]
    assert await listing.count(database, wanted) == 5
    assert await listing.public_topics(database) == []


def _offset(row: ArchivedRow) -> int | None:
    return row.kafka_offset
