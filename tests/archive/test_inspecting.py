"""One message taken apart, damaged or not; and questions for uuids, which can never change anything."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from pipeline import limits, limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.audit.inspecting import inspect, jsonable, plain, uuids
from pipeline.database.engine import Database
from pipeline.errors import BadInput, TooLarge
from pipeline.objects.memory import MemoryStore
from tests import databases
from tests.archive.archived import TIME_MS, TOPIC
from tests.archive.harm import (
    FIRST_GENERATION,
    an_archive,
    cut,
    filled,
    first_generation,
    flip_bit,
)

LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])


@pytest.fixture
def archive(objects: MemoryStore, database: Database) -> Archive:
    """Give an empty archive."""
    return an_archive(objects, database)


# --- single messages ---


@LAYOUTS
async def test_a_message_is_taken_apart_wherever_it_lies(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    found = await inspect(archive, rows[2].uuid)
    assert found is not None
    assert (found.row, found.problem) == (rows[2], "")
    assert found.data is not None
    assert len(found.data) == rows[2].size
    assert found.document is not None
    shown = plain(found.document)
    assert (shown["layout"], shown["message"]) == (2, b"value 2")
    assert shown["metadata"]["timestamp"] == TIME_MS + 2
    assert shown["annotations"]["con_text_uuid"] == str(rows[2].uuid)


async def test_a_uuid_nobody_has_gives_nothing(archive: Archive) -> None:
    assert await inspect(archive, uuid4()) is None


@LAYOUTS
async def test_of_a_damaged_message_everything_that_is_left_is_given(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await flip_bit(archive.objects, rows[1])
    found = await inspect(archive, rows[1].uuid)
    assert found is not None
    assert "CRC-32" in found.problem
    assert found.document is not None
    assert found.document.payload == b"walue 1"

    await cut(archive.objects, rows[3].key, (rows[3].pack_offset or 0) + 100)
    found = await inspect(archive, rows[3].uuid)
    assert found is not None
    assert f"size 100, its row says {rows[3].size}; it is not an archived message" in found.problem
    assert (len(found.data or b""), found.document) == (100, None)

    await archive.objects.delete(rows[0].key)
    found = await inspect(archive, rows[0].uuid)
    assert found is not None
    assert (found.data, found.document) == (None, None)
    assert rows[0].key in found.problem


@pytest.mark.parametrize("variant", FIRST_GENERATION)
async def test_an_object_of_the_first_generation_says_so(archive: Archive, variant: str) -> None:
    headers, key = FIRST_GENERATION[variant]
    row = await first_generation(archive, uuid4(), headers, key=key)
    found = await inspect(archive, row.uuid)
    assert found is not None
    assert found.document is not None
    assert found.problem == ""
    shown = plain(found.document)
    assert (shown["layout"], shown["message"]) == (1, {"format": "json", "content": b'{"a": 1}'})
    assert ("key" in shown["metadata"]) == key
    given = [[name, value.encode() if isinstance(value, str) else value] for name, value in headers]
    assert shown["metadata"]["headers"] == given


def test_bytes_become_base64_in_json_and_everything_else_stays() -> None:
    value = {"a": [b"\x00\xff", None, True, 1, "x"], "u": UUID(int=1)}
    binary = {"$binary": {"base64": "AP8=", "subType": "00"}}
    assert jsonable(value) == {"a": [binary, None, True, 1, "x"], "u": str(UUID(int=1))}


# --- questions ---


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (f"where topic = '{TOPIC}' order by timestamp", [0, 1, 2, 3]),
        (f"WHERE timestamp > {TIME_MS} ORDER BY timestamp DESC", [3, 2, 1]),
        ("  order  by timestamp limit 2", [0, 1]),
        ("where title like '%x%'", []),
        (f"where timestamp = {TIME_MS} -- the first", [0]),
        ("where title = ':name %s ?'", []),
    ],
)
async def test_a_clause_gives_the_uuids_of_its_rows_in_its_order(
    archive: Archive, where: str, wanted: list[int]
) -> None:
    rows = await filled(archive)
    assert list(await uuids(archive.database, where)) == [rows[n].uuid for n in wanted]


@pytest.mark.parametrize(
    "where",
    [
        "",
        "topic = 'x'",
        "wherever topic = 'x'",
        "where true; delete from messages",
        "where topic = ';'",
        "where no_such_column = 1",
        "where (",
        "where true) as x; drop table messages --",
        "limit 1 returning id",
    ],
)
async def test_what_is_no_single_clause_is_refused_and_changes_nothing(
    archive: Archive, where: str
) -> None:
    rows = await filled(archive)
    with pytest.raises(BadInput):
        await uuids(archive.database, where)
    assert len(await uuids(archive.database, "limit 9")) == len(rows)


async def test_a_clause_cannot_write_where_the_database_would_let_it(archive: Archive) -> None:
    if archive.database.kind != "postgresql":
        pytest.skip("SQLite has no function that writes")
    await filled(archive)
    with pytest.raises(BadInput, match="read-only"):
        await uuids(archive.database, "where nextval('messages_id_seq') > 0")


async def test_after_a_refused_clause_the_database_can_be_written(archive: Archive) -> None:
    for _ in range(limits.DATABASE_CONNECTIONS + 1):
        with pytest.raises(BadInput):
            await uuids(archive.database, "where no_such_column = 1")
    assert len(await filled(archive)) == 4
    counted = await databases.rows(archive.database, "SELECT count(*) FROM messages")
    assert counted == [(4,)]


async def test_more_uuids_than_allowed_are_refused_not_cut(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(archive)
    monkeypatch.setattr(limits_archive, "ARCHIVE_UUIDS_MAX", 3)
    assert len(await uuids(archive.database, "limit 3")) == 3
    with pytest.raises(TooLarge):
        await uuids(archive.database, "where true")


async def test_a_question_that_takes_too_long_is_ended(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    if archive.database.kind != "postgresql":
        pytest.skip("SQLite is a file; its reader harms nobody")
    await filled(archive)
    monkeypatch.setattr(limits_archive, "ARCHIVE_QUESTION_SECONDS", 0.05)
    with pytest.raises(BadInput, match="statement timeout"):
        await uuids(archive.database, "where pg_sleep(5) is null")
