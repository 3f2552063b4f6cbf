"""What an archive holds, by topic: since it began, in the last day and in the last hour.

Nothing is read but rows. They are added up slice by slice, of serial numbers or of an hour, each in a
transaction of its own, so an archive of any size takes many short reads and never a long one. Contract:
archive section 15.2, `status`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive import lookup
from pipeline.archive.archive import Archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.storing import parking
from pipeline.database.engine import Database
from pipeline.database.tables import messages

EVER = "since start of archiving"
DAY = "last 24 hours"
HOUR = "last hour"

_HOUR_MS = 3_600_000
_DAY_HOURS = 24


class TopicLine(msgspec.Struct, frozen=True):
    """The messages of one topic in a period; times are theirs, in ms."""

    topic: str
    messages: int
    size_bytes: int
    sample: UUID
    earliest_ms: int
    latest_ms: int


class Period(msgspec.Struct, frozen=True):
    """A period with its topics in the order of their names."""

    title: str
    topics: list[TopicLine]

    @property
    def messages(self) -> int:
        """Count the messages of all topics."""
        return sum(line.messages for line in self.topics)

    @property
    def size_bytes(self) -> int:
        """Add up the bytes stored for all topics."""
        return sum(line.size_bytes for line in self.topics)


class Status(msgspec.Struct, frozen=True):
    """What an archive holds; `newest` are the rows of the newest time, at most `limits.LIST_PAGE_MAX`."""

    periods: list[Period]
    newest_ms: int | None
    newest: list[ArchivedRow]
    parked: int


class _Sums(msgspec.Struct):
    """What is added up for a topic; `last_id` is the serial number of its newest row."""

    messages: int
    size_bytes: int
    last_id: int
    earliest_ms: int
    latest_ms: int

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.messages + other.messages,
            self.size_bytes + other.size_bytes,
            max(self.last_id, other.last_id),
            min(self.earliest_ms, other.earliest_ms),
            max(self.latest_ms, other.latest_ms),
        )


async def status(archive: Archive) -> Status:
    """Add up what is stored. What is stored meanwhile may be counted or not.

    Raises:
        Unavailable: The database does not answer.
    """
    database = archive.database
    hours = await _last_day(database, int(archive.clock.unix() * 1000))
    summed = [(EVER, await _ever(database)), (DAY, _added(hours)), (HOUR, hours[-1])]
    uuids = await _uuids(database, {sums.last_id for _, topics in summed for sums in topics.values()})
    newest_ms, newest = await _newest(database)
    return Status(
        [Period(title, _lines(topics, uuids)) for title, topics in summed],
        newest_ms,
        newest,
        await parking.count(database),
    )


async def _ever(database: Database) -> Mapping[str, _Sums]:
    last = await last_id(database)
    step = limits_archive.ARCHIVE_STATUS_ROWS
    slices = [
        await _sums(database, messages.c.id > start, messages.c.id <= min(start + step, last))
        for start in range(0, last, step)
    ]
    return _added(slices)


async def last_id(database: Database) -> int:
    """Give the serial number of the row stored last, 0 in an empty archive."""

    async def ask(connection: AsyncConnection) -> int:
        return int(
            (await connection.execute(select(func.coalesce(func.max(messages.c.id), 0)))).scalar_one()
        )

    return await database.read("find the last row", ask)


async def _last_day(database: Database, now_ms: int) -> Sequence[Mapping[str, _Sums]]:
    """Add up each of the last 24 hours; messages dated in the future count to the last one."""
    time = messages.c.timestamp
    starts = [now_ms - hours * _HOUR_MS for hours in range(_DAY_HOURS, 0, -1)]
    return [
        *[await _sums(database, time >= start, time < start + _HOUR_MS) for start in starts[:-1]],
        await _sums(database, time >= starts[-1]),
    ]


async def _sums(database: Database, *conditions: ColumnElement[bool]) -> Mapping[str, _Sums]:
    time = messages.c.timestamp
    query = (
        select(
            messages.c.topic,
            func.count(),
            func.sum(messages.c.size),
            func.max(messages.c.id),
            func.min(time),
            func.max(time),
        )
        .where(*conditions)
        .group_by(messages.c.topic)
    )

    async def ask(connection: AsyncConnection) -> Mapping[str, _Sums]:
        found = await connection.execute(query)
        return {topic: _Sums(*(int(value) for value in values)) for topic, *values in found}

    return await database.read("add up rows", ask)


def _added(slices: Iterable[Mapping[str, _Sums]]) -> Mapping[str, _Sums]:
    total: dict[str, _Sums] = {}
    for topics in slices:
        for topic, sums in topics.items():
            total[topic] = total[topic].plus(sums) if topic in total else sums
    return total


async def _uuids(database: Database, ids: set[int]) -> Mapping[int, UUID]:
    wanted = sorted(ids)

    async def ask(connection: AsyncConnection) -> dict[int, UUID]:
        found: dict[int, UUID] = {}
        for start in range(0, len(wanted), limits.LIST_PAGE_MAX):
            some = wanted[start : start + limits.LIST_PAGE_MAX]
            query = select(messages.c.id, messages.c.uuid).where(messages.c.id.in_(some))
            found.update((row.id, row.uuid) for row in await connection.execute(query))
        return found

    return await database.read("find samples", ask)


def _lines(topics: Mapping[str, _Sums], uuids: Mapping[int, UUID]) -> list[TopicLine]:
    # A topic whose newest row was deleted since is left out: there is nothing to show of it.
    return [
        TopicLine(
            topic,
            sums.messages,
            sums.size_bytes,
            uuids[sums.last_id],
            sums.earliest_ms,
            sums.latest_ms,
        )
        for topic, sums in sorted(topics.items())
        if sums.last_id in uuids
    ]


async def _newest(database: Database) -> tuple[int | None, list[ArchivedRow]]:
    latest = select(func.max(messages.c.timestamp)).scalar_subquery()
    query = (
        select(*lookup.COLUMNS)
        .where(messages.c.timestamp == latest)
        .order_by(messages.c.id)
        .limit(limits.LIST_PAGE_MAX)
    )

    async def ask(connection: AsyncConnection) -> list[ArchivedRow]:
        return [ArchivedRow(*row) for row in await connection.execute(query)]

    rows = await database.read("find the newest rows", ask)
    return (rows[0].timestamp if rows else None), rows
