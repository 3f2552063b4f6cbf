"""What `status` says of an archive: every message is counted once, and in the right period."""

from __future__ import annotations

import pytest

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.figures.status import Status, status
from pipeline.archive.storing import parking
from pipeline.archive.storing.parking import ParkedMessage
from pipeline.clock import ManualClock
from pipeline.database.engine import Database
from pipeline.objects.memory import MemoryStore
from tests.archive.archived import TIME_MS
from tests.archive.harm import an_archive, change_row, filled, later

HOUR_MS = 3_600_000


@pytest.fixture
def archive(objects: MemoryStore, database: Database) -> Archive:
    """Give an empty archive."""
    return an_archive(objects, database)


def counts(found: Status) -> list[dict[str, int]]:
    """Give the messages of each topic, by period."""
    return [{line.topic: line.messages for line in period.topics} for period in found.periods]


async def test_an_empty_archive_has_empty_tables(archive: Archive) -> None:
    found = await status(archive)
    assert [period.title for period in found.periods] == [
        "since start of archiving",
        "last 24 hours",
        "last hour",
    ]
    assert (counts(found), found.newest_ms, found.newest, found.parked) == ([{}, {}, {}], None, [], 0)


@pytest.mark.parametrize("layout", ["objects", "packs"])
async def test_everything_is_added_up_in_slices_as_it_would_be_at_once(
    archive: Archive, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_STATUS_ROWS", 3)
    rows = await filled(archive, layout, topic="b", messages=7)
    others = await filled(archive, layout, topic="a", messages=2)

    ever = (await status(archive)).periods[0]

    assert [line.topic for line in ever.topics] == ["a", "b"]
    line = ever.topics[1]
    assert (line.messages, line.size_bytes) == (7, sum(row.size for row in rows))
    assert (line.earliest_ms, line.latest_ms) == (TIME_MS, TIME_MS + 6)
    assert line.sample in {row.uuid for row in rows}
    assert (ever.messages, ever.size_bytes) == (9, sum(row.size for row in (*rows, *others)))


async def test_a_message_counts_to_the_last_hour_and_day_by_its_own_time(archive: Archive) -> None:
    now_ms = int(archive.clock.unix() * 1000)
    rows = await filled(archive, messages=5)
    ages_ms = [HOUR_MS - 1, HOUR_MS + 1, 23 * HOUR_MS, 24 * HOUR_MS + 1, -HOUR_MS]
    for row, age_ms in zip(rows, ages_ms, strict=True):
        await change_row(archive.database, row, timestamp=now_ms - age_ms)

    found = await status(archive)

    assert [period.messages for period in found.periods] == [5, 4, 2]
    assert found.newest_ms == now_ms + HOUR_MS
    assert [row.uuid for row in found.newest] == [rows[4].uuid]


async def test_times_no_calendar_has_are_told_too(archive: Archive) -> None:
    (row,) = await filled(archive, messages=1)
    await change_row(archive.database, row, timestamp=2**62)
    assert (await status(archive)).periods[2].topics[0].latest_ms == 2**62


async def test_parked_messages_are_counted(archive: Archive) -> None:
    clock: ManualClock = later()
    entry = ParkedMessage("id", "", "t", 0, 7, TIME_MS, "parked/id", "too large", clock.now())
    await parking.add(archive.database, [entry])
    assert (await status(archive)).parked == 1
