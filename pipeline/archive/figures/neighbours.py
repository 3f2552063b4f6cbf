"""What is archived just before and just behind a message: in its partition, or in time on its topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.figures.gaps import of_partitions
from pipeline.archive.lookup import ArchivedRow
from pipeline.database.engine import Database
from pipeline.database.tables import messages


class Neighbour(NamedTuple):
    """An archived message beside another one."""

    uuid: UUID
    offset: int | None
    """Where it stood in the same partition; None when neighbours are told by time."""
    between: int
    """Offsets between the two that are not archived."""


class Neighbours(NamedTuple):
    """What stands before and behind; None where nothing does."""

    before: Neighbour | None
    behind: Neighbour | None


async def neighbours_of(database: Database, row: ArchivedRow) -> Neighbours:
    """Find the archived neighbours of a message. Raises `Unavailable`.

    With a place in a partition they are the nearest offsets there; of several messages with one offset (a
    topic made anew) the nearest in time. Without one they are the nearest of the topic by time.
    """
    query = _by_time if row.kafka_offset is None else _by_place

    async def ask(connection: AsyncConnection) -> Sequence[Any]:
        return [(await connection.execute(query(row, behind=behind))).first() for behind in (False, True)]

    return Neighbours(*(_found(row, found) for found in await database.read("find neighbours", ask)))


def _found(row: ArchivedRow, found: Any) -> Neighbour | None:
    if found is None:
        return None
    if row.kafka_offset is None:
        return Neighbour(found.uuid, None, 0)
    return Neighbour(found.uuid, found.kafka_offset, max(abs(found.kafka_offset - row.kafka_offset) - 1, 0))


def _by_place(row: ArchivedRow, *, behind: bool) -> Any:
    place = (messages.c.kafka_offset, messages.c.timestamp)
    return (
        select(messages.c.uuid, messages.c.kafka_offset)
        .where(
            *of_partitions(row.topic, row.cluster or ""),
            messages.c.kafka_partition == row.kafka_partition,
            _further(place, (row.kafka_offset, row.timestamp), behind=behind),
        )
        .order_by(*(place if behind else [column.desc() for column in place]))
        .limit(1)
    )


def _by_time(row: ArchivedRow, *, behind: bool) -> Any:
    place = (messages.c.timestamp, messages.c.id)
    return (
        select(messages.c.uuid, messages.c.kafka_offset)
        .where(messages.c.topic == row.topic, _further(place, (row.timestamp, row.id), behind=behind))
        .order_by(*(place if behind else [column.desc() for column in place]))
        .limit(1)
    )


def _further(columns: Sequence[Any], than: Sequence[Any], *, behind: bool) -> ColumnElement[bool]:
    """Compare whole rows of values: that way both databases go straight to the place in their index."""
    here, there = tuple_(*columns), tuple_(*than)
    return here > there if behind else here < there
