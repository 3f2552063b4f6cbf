"""What an archive holds in all: by topic how many messages, from when to when, of how many bytes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.database.engine import Database
from pipeline.database.tables import archive_parked, messages, topics
from pipeline.errors import Unavailable


class TopicTotal(msgspec.Struct, frozen=True):
    """A topic of the archive, by the statistics kept with every insert; times are those of its messages."""

    topic: str
    messages: int
    earliest_ms: int
    latest_ms: int


class Totals(NamedTuple):
    """The topics that have messages, when something was last stored, and how much is put aside."""

    topics: list[TopicTotal]
    last_stored: dt.datetime | None
    """None when nothing is stored, or upstream's archive stored it, which does not say when."""
    parked: dict[str, int]
    """Messages that could not be stored, by topic."""


async def totals(database: Database) -> Totals:
    """Read the statistics, whose price does not grow with the archive. Raises `Unavailable`."""
    kept = select(topics.c.topic, topics.c.n_messages, topics.c.e_timestamp, topics.c.l_timestamp)
    parked = select(archive_parked.c.topic, func.count()).group_by(archive_parked.c.topic)
    newest = select(messages.c.ingested_at).order_by(messages.c.id.desc()).limit(1)

    async def ask(connection: AsyncConnection) -> Totals:
        counted = (await connection.execute(kept.where(topics.c.n_messages > 0).order_by("topic"))).all()
        aside = (await connection.execute(parked)).all()
        last = (await connection.execute(newest)).scalar()
        return Totals([TopicTotal(*row) for row in counted], last, {row[0]: row[1] for row in aside})

    return await database.read("total of the archive", ask)


async def bytes_by_topic(database: Database) -> dict[str, int]:
    """Add up the bytes of all archived objects by topic, which reads every row.

    Raises:
        Unavailable: The database does not answer, or not within `limits_archive.ARCHIVE_FIGURES_SECONDS`.
    """
    query = select(messages.c.topic, func.sum(messages.c.size)).group_by(messages.c.topic)

    async def ask(connection: AsyncConnection) -> Sequence[Any]:
        return (await connection.execute(query)).all()

    try:
        async with asyncio.timeout(limits_archive.ARCHIVE_FIGURES_SECONDS):
            return {topic: int(size) for topic, size in await database.read("bytes of the archive", ask)}
    except TimeoutError as error:
        why = f"it takes more than {limits_archive.ARCHIVE_FIGURES_SECONDS:g} s"
        raise Unavailable("add up the bytes of the archive", why) from error
