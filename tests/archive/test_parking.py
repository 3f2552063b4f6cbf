"""Messages put aside: noted once, listed, counted, forgotten, on both databases."""

from __future__ import annotations

import datetime as dt

from pipeline.archive.storing import parking
from pipeline.database.engine import Database
from pipeline.events.parked import entry_id
from pipeline.log.port import Record
from pipeline.objects.keys import parked_key

PARKED_AT = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def parked(offset: int, error: str = "too large") -> parking.ParkedMessage:
    """Describe a record put aside."""
    record = Record("t", 1, offset, 1_700_000_000_000, None, b"")
    moment = PARKED_AT + dt.timedelta(seconds=offset)
    return parking.parked_message(record, error, agent="archive", cluster="", parked_at=moment)


async def test_a_message_is_noted_once_however_often_it_is_parked(database: Database) -> None:
    await parking.add(database, [])
    for _ in range(2):
        await parking.add(database, [parked(1), parked(2)])
    await parking.add(database, [parked(2, "another reason"), parked(3)])
    assert await parking.count(database) == 3
    assert await parking.listed(database) == [parked(3), parked(2), parked(1)]
    assert await parking.listed(database, limit=1) == [parked(3)]
    assert (parked(1).id, parked(1).object_key) == (
        entry_id("archive", "t", 1, 1),
        parked_key(entry_id("archive", "t", 1, 1)),
    )


async def test_a_reason_that_no_database_can_hold_is_noted_as_far_as_it_can(database: Database) -> None:
    await parking.add(database, [parked(1, "nul \0 and half \udc80 " + "x" * 10_000)])
    (found,) = await parking.listed(database)
    assert found.error.startswith("nul \ufffd and half ? xx")
    assert len(found.error) < 5000


async def test_a_message_that_was_replayed_is_forgotten(database: Database) -> None:
    await parking.add(database, [parked(1), parked(2)])
    assert await parking.remove(database, [parked(1).id, "unknown"]) == 1
    assert await parking.listed(database) == [parked(2)]
