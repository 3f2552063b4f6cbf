"""Gaps between archived offsets, and who stands beside a message, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.archive import lookup
from pipeline.archive.figures.gaps import Gap, Gaps, PartitionKept, find_gaps
from pipeline.archive.figures.neighbours import neighbours_of
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from tests.archive.archived import TIME_MS, TOPIC, Archive, a_message
from tests.databases import execute

Writers = Callable[..., ArchiveWriter]


def at(partition: int, offset: int, **changes: object) -> Message:
    """Make a message that stood there."""
    value = b"%d/%d" % (partition, offset)
    return a_message(offset, partition=partition, value=value, **changes)


async def keep(writer: ArchiveWriter, messages: Iterable[Message]) -> None:
    """Store messages, each of which must be new."""
    assert all(outcome.stored for outcome in await writer.store(list(messages)))


async def test_every_gap_of_every_partition_is_found(writer: ArchiveWriter, database: Database) -> None:
    await keep(writer, [at(0, offset) for offset in (5, 6, 8, 12)])
    await keep(writer, [at(1, offset) for offset in (0, 1)])
    await keep(writer, [at(0, 7, topic="other"), a_message(None, value=b"without a place")])
    found = await find_gaps(database, TOPIC)
    assert found.partitions == [PartitionKept(0, 5, 12, 4, 4, 2), PartitionKept(1, 0, 1, 2, 0, 0)]
    assert found.gaps == [Gap(0, 7, 7), Gap(0, 9, 11)]
    assert (found.total, found.missing) == (2, 4)


async def test_a_topic_nobody_archived_has_no_gaps(database: Database) -> None:
    assert await find_gaps(database, "none") == Gaps("none", [], [])


async def test_all_gaps_are_counted_when_some_are_listed(writer: ArchiveWriter, database: Database) -> None:
    await keep(writer, [at(0, offset) for offset in range(0, 40, 2)])
    found = await find_gaps(database, TOPIC, limit=3)
    assert [gap.first for gap in found.gaps] == [1, 3, 5]
    assert (found.total, found.missing) == (19, 19)


async def test_a_topic_made_anew_hides_no_gap_both_have(writer: ArchiveWriter, database: Database) -> None:
    await keep(writer, [at(0, offset) for offset in (0, 1, 4)])
    await keep(writer, [at(0, offset, timestamp_ms=TIME_MS + 1) for offset in (0, 2, 4, 5)])
    found = await find_gaps(database, TOPIC)
    assert found.gaps == [Gap(0, 3, 3)]
    assert found.partitions == [PartitionKept(0, 0, 5, 5, 1, 1)]


async def test_clusters_are_told_apart(
    writer: ArchiveWriter, new_writer: Writers, database: Database
) -> None:
    await keep(writer, [at(0, 0), at(0, 2)])
    await keep(new_writer(cluster="west"), [at(0, 1), at(0, 9)])
    assert (await find_gaps(database, TOPIC)).gaps == [Gap(0, 1, 1)]
    assert (await find_gaps(database, TOPIC, cluster="west")).gaps == [Gap(0, 2, 8)]


async def test_what_was_parked_is_counted_in_its_gap(writer: ArchiveWriter, database: Database) -> None:
    await keep(writer, [at(0, 0), at(0, 5), at(0, 8)])
    rows = [("a", TOPIC, 2), ("b", TOPIC, 3), ("c", "other", 7)]
    values = "'', '{}', 0, {}, 1, 'parked/x', 'why', '2024-01-01 00:00:00'"
    await execute(
        database,
        [
            f"INSERT INTO archive_parked VALUES ('{name}', {values.format(topic, offset)})"  # noqa: S608 - ours
            for name, topic, offset in rows
        ],
    )
    assert (await find_gaps(database, TOPIC)).gaps == [Gap(0, 1, 4, parked=2), Gap(0, 6, 7)]


async def rows_of(archive: Archive) -> dict[tuple[int | None, int], ArchivedRow]:
    """Give the rows by offset and time."""
    return {(row.kafka_offset, row.timestamp): row for row in await archive.rows()}


async def test_neighbours_are_the_nearest_archived_offsets_of_the_partition(
    writer: ArchiveWriter, archive: Archive, database: Database
) -> None:
    later = TIME_MS + 5
    await keep(writer, [at(0, 1), at(0, 2), at(0, 6), at(1, 3), at(0, 4, topic="other")])
    await keep(writer, [at(0, 2, timestamp_ms=later)])
    rows = await rows_of(archive)
    before, behind = await neighbours_of(database, rows[2, TIME_MS])
    assert before is not None
    assert behind is not None
    assert (before.uuid, before.offset, before.between) == (rows[1, TIME_MS].uuid, 1, 0)
    assert (behind.uuid, behind.offset, behind.between) == (rows[2, later].uuid, 2, 0)
    _, behind = await neighbours_of(database, rows[2, later])
    assert behind is not None
    assert (behind.offset, behind.between) == (6, 3)
    assert (await neighbours_of(database, rows[1, TIME_MS])).before is None
    assert (await neighbours_of(database, rows[6, TIME_MS])).behind is None


async def test_without_a_place_neighbours_are_the_nearest_in_time(
    writer: ArchiveWriter, archive: Archive, database: Database
) -> None:
    await keep(writer, [a_message(None, timestamp_ms=TIME_MS + n, value=b"%d" % n) for n in range(3)])
    first, middle, last = await archive.rows()
    before, behind = await neighbours_of(database, middle)
    assert before is not None
    assert behind is not None
    assert (before.uuid, behind.uuid) == (first.uuid, last.uuid)
    assert (before.offset, before.between) == (None, 0)
    assert (await neighbours_of(database, last)).behind is None
    assert await lookup.by_uuid(database, before.uuid) == first
