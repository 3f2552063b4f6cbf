"""What of a topic is not archived: gaps between the offsets of each partition, and the way to them.

A gap says "not archived", never "lost": offsets are also left out by compaction and by the markers of
transactions, which were never messages, by test messages that are passed over, and by what was parked.
`pipeline.archive.figures.gap_causes` tells which it was as far as the log still knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.database.engine import Database
from pipeline.database.tables import archive_parked, messages
from pipeline.errors import Unavailable


class Gap(msgspec.Struct, frozen=True):
    """Offsets of one partition that are not archived, between two that are; first and last included."""

    partition: int
    first: int
    last: int
    parked: int = 0
    """So many of them are put aside, with their values, because they could not be stored."""

    @property
    def offsets(self) -> int:
        """Give how many they are."""
        return self.last - self.first + 1


class PartitionKept(msgspec.Struct, frozen=True):
    """What the archive has of one partition."""

    partition: int
    first: int
    """The first archived offset."""
    last: int
    """The last archived offset."""
    archived: int
    """Offsets that are archived; one that was used twice, by a topic made anew, counts once."""
    missing: int
    """Offsets between the first and the last that are not."""
    gaps: int


class Gaps(msgspec.Struct, frozen=True):
    """What is not archived of one topic; `partitions` tells of all gaps, `gaps` lists the first of them."""

    topic: str
    partitions: list[PartitionKept]
    gaps: list[Gap]

    @property
    def total(self) -> int:
        """Give the number of gaps, those not listed included."""
        return sum(one.gaps for one in self.partitions)

    @property
    def missing(self) -> int:
        """Give the number of offsets in all gaps."""
        return sum(one.missing for one in self.partitions)


async def find_gaps(
    database: Database, topic: str, *, cluster: str = "", limit: int = limits_archive.ARCHIVE_GAPS_MAX
) -> Gaps:
    """Find the gaps of a topic, by partition and offset; at most `limit` of them are listed.

    Rows without a place (uploads, upstream's) take no part. Where a topic was made anew, an offset counts
    as archived when a message of either stood there.

    Raises:
        Unavailable: The database does not answer, or not within `limits_archive.ARCHIVE_FIGURES_SECONDS`.
    """

    async def ask(connection: AsyncConnection) -> Gaps:
        kept = [
            PartitionKept(*map(int, row)) for row in await _rows(connection, _partitions(topic, cluster))
        ]
        if not any(one.gaps for one in kept):
            return Gaps(topic, kept, [])
        found = await _rows(connection, _listed(topic, cluster, limit))
        return Gaps(topic, kept, [Gap(*map(int, row)) for row in found])

    try:
        async with asyncio.timeout(limits_archive.ARCHIVE_FIGURES_SECONDS):
            return await database.read("find gaps", ask)
    except TimeoutError as error:
        why = f"it takes more than {limits_archive.ARCHIVE_FIGURES_SECONDS:g} s"
        raise Unavailable(
            f"find the gaps of topic {topic}", why, "try again when less is going on"
        ) from error


async def _rows(connection: AsyncConnection, query: Any) -> Sequence[Any]:
    return (await connection.execute(query)).all()


def of_partitions(topic: str, cluster: str) -> list[ColumnElement[bool]]:
    """Give the conditions for rows of a topic with a place, so that their index is used."""
    return [
        func.coalesce(messages.c.cluster, text("''")) == cluster,
        messages.c.topic == topic,
        messages.c.kafka_offset.is_not(None),
    ]


def _steps(topic: str, cluster: str) -> Any:
    """Give each archived offset with the one before it in its partition, in the order of the index."""
    before = func.lag(messages.c.kafka_offset).over(
        partition_by=messages.c.kafka_partition, order_by=messages.c.kafka_offset
    )
    return (
        select(
            messages.c.kafka_partition.label("partition"),
            messages.c.kafka_offset.label("here"),
            before.label("before"),
        )
        .where(*of_partitions(topic, cluster))
        .subquery()
    )


def _partitions(topic: str, cluster: str) -> Any:
    step = _steps(topic, cluster).c
    missing = func.coalesce(func.sum(case((step.here > step.before + 1, step.here - step.before - 1))), 0)
    first, last = func.min(step.here), func.max(step.here)
    return (
        select(
            step.partition,
            first,
            last,
            last - first + 1 - missing,
            missing,
            func.count(case((step.here > step.before + 1, 1))),
        )
        .group_by(step.partition)
        .order_by(step.partition)
    )


def _listed(topic: str, cluster: str, limit: int) -> Any:
    step = _steps(topic, cluster).c
    parked = (
        select(func.count())
        .where(
            archive_parked.c.cluster == cluster,
            archive_parked.c.topic == topic,
            archive_parked.c.kafka_partition == step.partition,
            archive_parked.c.kafka_offset.between(step.before + 1, step.here - 1),
        )
        .scalar_subquery()
    )
    return (
        select(step.partition, step.before + 1, step.here - 1, parked)
        .where(step.here > step.before + 1)
        .order_by(step.partition, step.here)
        .limit(limit)
    )
