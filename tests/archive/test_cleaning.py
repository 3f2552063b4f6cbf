"""Deleting from an archive: exactly what was asked for, and never an object that a row still points to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.audit import cleaning
from pipeline.archive.audit.audit import verify
from pipeline.archive.audit.cleaning import Cleaned, clean_duplicates, clean_topics, sizes
from pipeline.archive.audit.store import verify_store
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.errors import Conflict, Unavailable
from pipeline.objects.copies import CopiedStore
from pipeline.objects.memory import MemoryStore
from tests import databases
from tests.archive.archived import TIME_MS, TOPIC, Statistics, a_message
from tests.archive.archived import Archive as Held
from tests.archive.conftest import plain_text
from tests.archive.harm import (
    a_store,
    an_archive,
    change_row,
    filled,
    first_generation,
    rows_of,
)
from tests.archive.upstream_archives import SECOND_ON_POSTGRES

LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])


@pytest.fixture
async def archive(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path, unique: str
) -> AsyncIterator[Archive]:
    """Give an empty archive."""
    async with a_store(database, request, tmp_path, unique) as objects:
        yield an_archive(objects, database, prefix="kept/")


def held(archive: Archive) -> Held:
    """Look at what the archive holds."""
    return Held(archive.objects, archive.database)


def by_id(rows: Sequence[ArchivedRow]) -> list[ArchivedRow]:
    """Give rows in the order they were numbered in, which PostgreSQL chooses within a batch."""
    return sorted(rows, key=lambda row: row.id)


async def check_sound(archive: Archive) -> None:
    """Fail unless every row has its object and every object its rows."""
    assert [finding async for finding in verify(archive, crc=True) if not finding.ok] == []
    assert [each.strays async for each in verify_store(archive) if each.strays] == []


async def indexed(archive: Archive, *rows: ArchivedRow) -> None:
    """Give messages a text."""
    values = [{"uuid": row.uuid, "text_data": "word", "text_fully_indexed": True} for row in rows]

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(tables.message_ts), values)

    await archive.database.write("test", write)


# --- topics ---


@LAYOUTS
async def test_a_cleaned_topic_leaves_nothing_and_the_others_lose_nothing(
    archive: Archive, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_CLEAN_ROWS", 3)
    gone = await filled(archive, layout, topic="demo.test", messages=8)
    kept = await filled(archive, layout, topic="demo.test2", messages=4)
    await indexed(archive, gone[0], kept[0])
    told: list[int] = []

    assert [(size.topic, size.messages) for size in await sizes(archive, ["demo.test"])] == [
        ("demo.test", 8)
    ]
    cleaned = await clean_topics(archive, ["demo.test", "unknown"], progress=told.append)

    assert cleaned == Cleaned(messages=8, objects=1 if layout == "packs" else 8)
    assert sum(told) == 8
    assert await held(archive).rows() == by_id(kept)
    assert await held(archive).statistics() == {"demo.test2": Statistics(TIME_MS, TIME_MS + 3, 4)}
    assert await held(archive).keys("kept/demo.test/") == []
    texts = await databases.rows(archive.database, "SELECT uuid FROM message_ts")
    assert [UUID(str(uuid)) for (uuid,) in texts] == [kept[0].uuid]
    packs = await databases.rows(archive.database, "SELECT DISTINCT topic FROM archive_packs")
    assert packs == ([("demo.test2",)] if layout == "packs" else [])
    await check_sound(archive)


@LAYOUTS
async def test_a_cleaned_topic_can_be_archived_again(archive: Archive, layout: str) -> None:
    before = await filled(archive, layout)
    await clean_topics(archive, [TOPIC])
    after = await filled(archive, layout)
    assert [row.uuid for row in after] == [row.uuid for row in before]
    await check_sound(archive)


async def test_a_protected_archive_loses_nothing(archive: Archive, database: Database) -> None:
    rows = await filled(archive)
    protected = an_archive(archive.objects, database, prefix="kept/", protected=True)
    with pytest.raises(Conflict, match="protected"):
        await clean_topics(protected, [TOPIC])
    with pytest.raises(Conflict, match="protected"):
        await clean_duplicates(protected, limit=20)
    assert await held(archive).rows() == by_id(rows)
    await check_sound(archive)


class Failing(MemoryStore):
    """A store that stops deleting after a while."""

    deletions_left = 1_000

    async def delete(self, key: str, **options: object) -> bool:
        """Delete, or fail."""
        if not self.deletions_left:
            raise Unavailable(f"delete {key}", "connection reset")
        self.deletions_left -= 1
        return await super().delete(key, **options)  # type: ignore[arg-type]


@LAYOUTS
@pytest.mark.parametrize("deletions", [0, 3])
async def test_a_cleaning_cut_short_leaves_no_row_without_object_and_goes_on_later(
    database: Database, tmp_path: Path, layout: str, deletions: int
) -> None:
    store = Failing(tmp_path / "spool")
    await store.open()
    archive = an_archive(store, database)
    await filled(archive, layout, messages=6)
    store.deletions_left = deletions
    if deletions == 0 or layout == "objects":
        with pytest.raises(Unavailable):
            await clean_topics(archive, [TOPIC])
    assert [finding async for finding in verify(archive, crc=True) if not finding.ok] == []

    store.deletions_left = 1_000
    await clean_topics(archive, [TOPIC])

    assert await held(archive).rows() == []
    assert await held(archive).keys() == []
    assert await databases.rows(database, "SELECT key FROM archive_packs") == []
    await store.close()


async def test_an_object_that_may_be_waiting_for_its_row_is_left_alone(
    archive: Archive, database: Database
) -> None:
    now = an_archive(archive.objects, database, prefix="kept/", clock=SystemClock())
    await archive.objects.put(f"kept/{TOPIC}/2023/11/14/22/{uuid4()}.bson", b"just stored")
    assert await clean_topics(now, [TOPIC]) == Cleaned()
    assert len(await held(archive).keys()) == 1
    assert await clean_topics(archive, [TOPIC]) == Cleaned(objects=1)


@LAYOUTS
async def test_the_backup_loses_what_the_archive_loses(
    archive: Archive, database: Database, tmp_path: Path, layout: str
) -> None:
    second = MemoryStore(tmp_path / "second")
    await second.open()
    both = an_archive(CopiedStore(archive.objects, second), database)
    await filled(both, layout, topic="kept", messages=1)
    await filled(both, layout, messages=3)
    await clean_topics(both, [TOPIC])
    assert {stat.key.partition("/")[0] async for stat in second.list()} == {"kept"}
    await check_sound(both)
    await second.close()


async def test_upstreams_trigger_is_left_to_count(archive: Archive) -> None:
    if archive.database.kind != "postgresql":
        pytest.skip("upstream's trigger is PostgreSQL's")
    kept = await filled(archive, messages=1)
    await filled(archive, topic="gone", messages=2)
    half = await repeated(archive, "objects", b"a", b"a", timestamp_ms=TIME_MS + 9)
    await databases.execute(archive.database, SECOND_ON_POSTGRES[1:])

    await clean_topics(archive, ["gone"])
    await clean_duplicates(archive, limit=20)

    assert await held(archive).rows() == [*kept, half[0]]
    assert await held(archive).statistics() == {TOPIC: Statistics(TIME_MS, TIME_MS + 9, 2)}


# --- repeated messages ---


async def repeated(
    archive: Archive, layout: str, *values: bytes | None, timestamp_ms: int = TIME_MS
) -> list[ArchivedRow]:
    """Archive messages of one topic and time from different places; return their rows, oldest first."""
    writer = ArchiveWriter(
        archive.objects,
        archive.database,
        clock=SystemClock(),
        media_types=plain_text,
        prefix=archive.prefix,
    )
    found = []
    for n, value in enumerate(values):
        message = a_message(n, value=value, timestamp_ms=timestamp_ms)
        (outcome,) = await (PackWriter(writer) if layout == "packs" else writer).store([message])
        found += await rows_of(archive, [outcome.uuid] if outcome.uuid else [])
    return found


@LAYOUTS
async def test_of_repeated_messages_the_oldest_stays(archive: Archive, layout: str) -> None:
    rows = await repeated(archive, layout, b"same", b"same", b"other", b"same")
    (group,) = [group async for group in cleaning.groups(archive)]
    assert (group.last_id, group.topic, group.timestamp, group.number) == (rows[3].id, TOPIC, TIME_MS, 3)

    cleaned = await clean_duplicates(archive, limit=20)

    assert (cleaned.messages, cleaned.objects) == (2, 2)
    assert await held(archive).rows() == [rows[0], rows[2]]
    assert (await held(archive).statistics())[TOPIC] == Statistics(TIME_MS, TIME_MS, 2)
    assert await clean_duplicates(archive, limit=20) == Cleaned()
    await check_sound(archive)


async def test_no_more_are_deleted_than_allowed(archive: Archive) -> None:
    for n in range(3):
        writer_rows = await repeated(archive, "objects", b"a", b"a", b"a", timestamp_ms=TIME_MS + n)
        assert len(writer_rows) == 3
    assert (await clean_duplicates(archive, limit=3)).messages == 3
    assert (await clean_duplicates(archive, limit=20)).messages == 3
    await check_sound(archive)


async def test_a_message_of_a_pack_is_deleted_without_its_neighbours(archive: Archive) -> None:
    single, *_ = await repeated(archive, "objects", b"value 1")
    pack = await filled(archive, "packs", messages=3, first=1)
    await change_row(archive.database, pack[0], timestamp=TIME_MS)

    cleaned = await clean_duplicates(archive, limit=20)

    assert (cleaned.messages, cleaned.objects) == (1, 0)
    assert await held(archive).rows() == [single, *pack[1:]]
    assert [finding async for finding in verify(archive, crc=True) if not finding.ok] == []


async def test_payloads_decide_not_their_checksums(archive: Archive) -> None:
    rows = await repeated(archive, "objects", b"plumless", b"buckeroo")  # the same CRC-32
    assert rows[0].message_crc32 == rows[1].message_crc32
    assert [group.number async for group in cleaning.groups(archive)] == [2]
    assert await clean_duplicates(archive, limit=20) == Cleaned()


async def test_a_tombstone_is_not_an_empty_message(archive: Archive) -> None:
    await repeated(archive, "objects", None, b"")
    assert await clean_duplicates(archive, limit=20) == Cleaned()


async def test_an_object_two_rows_point_to_is_never_deleted(archive: Archive) -> None:
    first, second = await repeated(archive, "objects", b"same", b"same")
    await archive.objects.delete(second.key)
    await change_row(archive.database, second, key=first.key, crc32=first.crc32, size=first.size)
    cleaned = await clean_duplicates(archive, limit=20)
    assert (cleaned.messages, cleaned.objects) == (1, 0)
    await check_sound(archive)


async def test_what_cannot_be_read_is_neither_deleted_nor_a_reason_to_delete(archive: Archive) -> None:
    rows = await repeated(archive, "objects", b"same", b"same", b"same")
    await archive.objects.delete(rows[0].key)
    cleaned = await clean_duplicates(archive, limit=20)
    assert (cleaned.messages, cleaned.unreadable) == (1, [rows[0].uuid])
    assert await held(archive).rows() == rows[:2]


async def test_messages_of_both_layouts_are_compared(archive: Archive) -> None:
    old = await first_generation(archive, uuid4(), [["dog", b"fido"]])
    await repeated(archive, "objects", b'{"a": 1}')
    assert (await clean_duplicates(archive, limit=20)).messages == 1
    assert await held(archive).rows() == [old]


async def test_many_groups_are_found_page_by_page(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_PAGE_MAX", 2)
    for n in range(5):
        await repeated(archive, "objects", b"a", b"a", timestamp_ms=TIME_MS + n)
    assert [group.timestamp async for group in cleaning.groups(archive)] == [TIME_MS + n for n in range(5)]
