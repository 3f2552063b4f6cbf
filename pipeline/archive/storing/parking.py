"""Messages the archive could not store: where each stood, where its value lies, and why it is there.

The value itself and the record's headers are kept by `pipeline.processing.park`, as for every agent; these
rows make the archive's share of them countable and listable beside its messages. Adding one again changes
nothing, so a worker that was stopped in between may repeat it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive.rows import storable_text
from pipeline.database.engine import Database
from pipeline.database.tables import archive_parked
from pipeline.events.parked import entry_id
from pipeline.log.port import Record
from pipeline.objects.keys import parked_key


class ParkedMessage(msgspec.Struct, frozen=True):
    """A row of the messages put aside; `timestamp` is the message's, in ms."""

    id: str
    cluster: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    timestamp: int
    object_key: str
    error: str
    parked_at: dt.datetime


_COLUMNS = [archive_parked.c[name] for name in ParkedMessage.__struct_fields__]


def parked_message(
    record: Record, error: str, *, agent: str, cluster: str, parked_at: dt.datetime
) -> ParkedMessage:
    """Describe a record that `pipeline.processing.park` put aside for that agent."""
    name = entry_id(agent, record.topic, record.partition, record.offset)
    return ParkedMessage(
        id=name,
        cluster=cluster,
        topic=record.topic,
        kafka_partition=record.partition,
        kafka_offset=record.offset,
        timestamp=record.timestamp_ms,
        object_key=parked_key(name),
        error=_text(error),
        parked_at=parked_at,
    )


def _text(error: str) -> str:
    """Give as much of a reason as a database can hold; it may quote what is no text."""
    some = error[: limits_archive.ARCHIVE_PARKED_ERROR_CHARACTERS]
    return storable_text(some.encode(errors="replace").decode())


async def add(database: Database, parked: Sequence[ParkedMessage]) -> None:
    """Note messages put aside; those noted before stay as they are. Raises `Unavailable`."""
    if not parked:
        return
    rows = [msgspec.structs.asdict(each) for each in parked]
    dialect = postgresql if database.kind == "postgresql" else sqlite
    statement = dialect.insert(archive_parked).on_conflict_do_nothing(index_elements=["id"])

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(statement, rows)

    await database.write("note parked messages", write)


async def listed(database: Database, *, limit: int = limits.LIST_PAGE_MAX) -> list[ParkedMessage]:
    """Give the messages put aside, newest first, at most `limit`. Raises `Unavailable`."""
    query = select(*_COLUMNS).order_by(archive_parked.c.parked_at.desc(), archive_parked.c.id).limit(limit)

    async def ask(connection: AsyncConnection) -> list[ParkedMessage]:
        return [ParkedMessage(*row) for row in await connection.execute(query)]

    return await database.read("list parked messages", ask)


async def count(database: Database) -> int:
    """Count the messages put aside. Raises `Unavailable`."""

    async def ask(connection: AsyncConnection) -> int:
        return (await connection.execute(select(func.count()).select_from(archive_parked))).scalar_one()

    return await database.read("count parked messages", ask)


async def remove(database: Database, ids: Collection[str]) -> int:
    """Forget messages put aside, because they were replayed or dropped; say how many there were."""
    statement = delete(archive_parked).where(archive_parked.c.id.in_(list(ids)))

    async def write(connection: AsyncConnection) -> int:
        return (await connection.execute(statement)).rowcount

    return await database.write("forget parked messages", write)
