"""What a selection holds: its topics, and what each of their partitions has."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive.listing import topic_names
from pipeline.archive.restore.report import Selection
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.errors import BadInput, NotFound

UNPLACED = -1
"""The partition of a lane of messages that never stood in a log."""

_CLUSTER = func.coalesce(messages.c.cluster, text("''"))
"""As the index has it; with a parameter in it no index would be found."""
_IS_PLACED = messages.c.kafka_offset.is_not(None)


class Lane(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Messages in one order: those of a partition, or those of a topic that never stood in a log."""

    topic: str
    cluster: str
    partition: int


class Total(NamedTuple):
    """What a lane holds of a selection; the offsets are those it begins and ends with."""

    lane: Lane
    messages: int
    bytes: int
    earliest_ms: int
    latest_ms: int
    first_offset: int | None
    last_offset: int | None


class Newest(msgspec.Struct, frozen=True, array_like=True):
    """The newest row of an archive at some time; `uuid` tells archives apart."""

    id: int
    uuid: UUID | None


async def find_newest(database: Database, id_max: int | None = None) -> Newest:
    """Give the newest row, up to a serial number. Raises `Unavailable`."""
    query = select(messages.c.id, messages.c.uuid).order_by(messages.c.id.desc()).limit(1)
    if id_max is not None:
        query = query.where(messages.c.id <= id_max)

    async def ask(connection: AsyncConnection) -> Any:
        return (await connection.execute(query)).one_or_none()

    found = await database.read("find the newest archived message", ask)
    return Newest(0, None) if found is None else Newest(found.id, UUID(int=found.uuid.int))


async def chosen_topics(database: Database, selection: Selection) -> list[str]:
    """Check a selection and name its topics.

    Raises:
        BadInput: It cannot be used. NotFound: The archive has no such topic or uuid.
        Unavailable: The database does not answer.
    """
    tried = "choose messages to restore"
    if (
        selection.from_ms is not None
        and selection.to_ms is not None
        and selection.from_ms > selection.to_ms
    ):
        raise BadInput(tried, f"{selection.from_ms} is after {selection.to_ms}")
    if len(selection.uuids) > limits_archive.RESTORE_UUIDS_MAX:
        why = f"{len(selection.uuids)} uuids are more than {limits_archive.RESTORE_UUIDS_MAX}"
        raise BadInput(tried, why, "name topics and times, or restore in parts")
    if selection.uuids:
        await _check_uuids(database, selection.uuids)
    return _matching(await topic_names(database), selection.topics)


def _matching(names: Collection[str], patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return sorted(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matching = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            why = "the archive has no messages of such a topic"
            raise NotFound(f"restore topic {pattern}", why, "`headrace archive status` lists what it has")
        chosen.update(matching)
    return sorted(chosen)


async def _check_uuids(database: Database, uuids: Sequence[UUID]) -> None:
    query = select(messages.c.uuid).where(messages.c.uuid.in_(uuids))

    async def ask(connection: AsyncConnection) -> set[UUID]:
        return {UUID(int=uuid.int) for uuid in (await connection.execute(query)).scalars()}

    missing = set(uuids) - await database.read("look for messages to restore", ask)
    if missing:
        raise NotFound(
            f"restore message {min(missing)}",
            "the archive has no message under this uuid"
            + (f", nor under {len(missing) - 1} others" if len(missing) > 1 else ""),
        )


def conditions_of_selection(selection: Selection, newest: Newest) -> list[ColumnElement[bool]]:
    """Give what every row of a selection satisfies, but for its topic."""
    # The sum keeps SQLite from reading a topic by serial numbers and sorting all of it for each page.
    conditions: list[ColumnElement[bool]] = [messages.c.id + 0 <= newest.id]
    if selection.from_ms is not None:
        conditions.append(messages.c.timestamp >= selection.from_ms)
    if selection.to_ms is not None:
        conditions.append(messages.c.timestamp < selection.to_ms)
    if selection.uuids:
        conditions.append(messages.c.uuid.in_(selection.uuids))
    return conditions


def conditions_of_lane(total: Total) -> list[ColumnElement[bool]]:
    """Give what every row of a lane satisfies."""
    lane = total.lane
    if lane.partition == UNPLACED:
        unplaced = or_(messages.c.kafka_offset.is_(None), messages.c.kafka_partition.is_(None))
        return [messages.c.topic == lane.topic, unplaced]
    return [
        _CLUSTER.op("=")(lane.cluster),
        messages.c.topic == lane.topic,
        messages.c.kafka_partition == lane.partition,
        _IS_PLACED,
        messages.c.kafka_offset.between(total.first_offset, total.last_offset),
    ]


async def totals_of(
    database: Database, topic: str, conditions: Sequence[ColumnElement[bool]]
) -> list[Total]:
    """Give what the lanes of a topic hold. Raises `Unavailable`."""
    query = (
        select(
            messages.c.topic,
            func.max(_CLUSTER),
            messages.c.kafka_partition,
            _IS_PLACED.label("placed"),
            func.count(),
            func.sum(messages.c.size),
            func.min(messages.c.timestamp),
            func.max(messages.c.timestamp),
            func.min(messages.c.kafka_offset),
            func.max(messages.c.kafka_offset),
        )
        .where(messages.c.topic == topic, *conditions)
        .group_by(messages.c.topic, messages.c.cluster, messages.c.kafka_partition, text("placed"))
    )

    async def ask(connection: AsyncConnection) -> Sequence[Any]:
        return (await connection.execute(query)).all()

    merged: dict[Lane, Total] = {}
    for row in await database.read("count messages to restore", ask):
        total = _total(*row)
        there = merged.get(total.lane)
        merged[total.lane] = total if there is None else _sum(there, total)
    return list(merged.values())


def _total(topic: str, cluster: str, partition: int | None, placed: object, *figures: Any) -> Total:
    messages, size_bytes, earliest_ms, latest_ms, *offsets = map(int, figures if placed else figures[:4])
    known = placed and partition is not None
    first, last = offsets if known else (None, None)
    lane = Lane(topic, cluster, partition or 0) if known else Lane(topic, "", UNPLACED)
    return Total(lane, messages, size_bytes, earliest_ms, latest_ms, first, last)


def _sum(one: Total, other: Total) -> Total:
    """Put together what is of one lane: no cluster and an empty one, and what never stood in any."""
    firsts = [each for each in (one.first_offset, other.first_offset) if each is not None]
    lasts = [each for each in (one.last_offset, other.last_offset) if each is not None]
    return Total(
        one.lane,
        one.messages + other.messages,
        one.bytes + other.bytes,
        min(one.earliest_ms, other.earliest_ms),
        max(one.latest_ms, other.latest_ms),
        min(firsts, default=None),
        max(lasts, default=None),
    )


async def known_partitions(database: Database, topic: str) -> int:
    """Give how many partitions a topic is known to have had, at least one. Raises `Unavailable`."""
    query = select(func.max(messages.c.kafka_partition)).where(messages.c.topic == topic)

    async def ask(connection: AsyncConnection) -> int | None:
        found: int | None = (await connection.execute(query)).scalar_one()
        return found

    newest = await database.read("look for partitions of a topic", ask)
    return 1 if newest is None else newest + 1
