"""Messages to archive, and a look at what an archive holds."""

from __future__ import annotations

import zlib
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive import bson, lookup
from pipeline.archive.message import Message
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.objects.port import ObjectStore

TOPIC = "alerts.demo"
TIME_MS = 1_700_000_000_123
CLIENT_UUID = UUID("01234567-89ab-4cde-8f01-23456789abcd")


def a_message(offset: int | None = 0, *, value: bytes | None = b"hello", **changes: object) -> Message:
    """Make a message at an offset of partition 2; None for one that never stood in a log."""
    fields: dict[str, object] = {
        "topic": TOPIC,
        "partition": None if offset is None else 2,
        "offset": offset,
        "timestamp_ms": TIME_MS,
        "key": None,
        "value": value,
        "headers": None,
    }
    return Message(**(fields | changes))  # type: ignore[arg-type]


def with_id(offset: int | None = 0, *, uuid: UUID = CLIENT_UUID, **changes: object) -> Message:
    """Make a message whose sender gave it a uuid."""
    return a_message(offset, headers=(("_id", uuid.bytes),), **changes)  # type: ignore[arg-type]


async def upstream_row(database: Database, uuid: UUID, *, value: bytes, is_client_uuid: bool) -> None:
    """Insert a row as upstream writes it: no place, no SHA-256, its object elsewhere."""
    row = {
        "topic": TOPIC,
        "timestamp": TIME_MS,
        "uuid": uuid,
        "size": 1,
        "key": f"elsewhere/{uuid}",
        "bucket": "upstream",
        "crc32": 0,
        "is_client_uuid": is_client_uuid,
        "public": True,
        "direct_upload": False,
        "message_crc32": zlib.crc32(value),
    }

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(tables.messages), row)

    await database.write("test", write)


class Statistics(NamedTuple):
    """A row of the topic statistics."""

    earliest: int
    latest: int
    messages: int


class Archive:
    """What an object store and a database hold together."""

    def __init__(self, objects: ObjectStore, database: Database) -> None:
        self.objects = objects
        self.database = database

    async def rows(self, topic: str | None = None) -> list[lookup.ArchivedRow]:
        """Give all rows in order, or those of a topic."""
        query = select(tables.messages.c.uuid).order_by(tables.messages.c.id)
        if topic is not None:
            query = query.where(tables.messages.c.topic == topic)

        async def ask(connection: AsyncConnection) -> list[UUID]:
            return list((await connection.execute(query)).scalars())

        found = [
            await lookup.by_uuid(self.database, uuid) for uuid in await self.database.read("test", ask)
        ]
        return [row for row in found if row is not None]

    async def message(self, uuid: UUID | None) -> bson.Document:
        """Read a message back."""
        assert uuid is not None
        row = await lookup.by_uuid(self.database, uuid)
        assert row is not None
        return await lookup.read_message(self.objects, row)

    async def statistics(self) -> dict[str, Statistics]:
        """Give the topic statistics by topic."""

        async def ask(connection: AsyncConnection) -> dict[str, Statistics]:
            found = await connection.execute(select(tables.topics))
            return {row.topic: Statistics(*row[1:]) for row in found}

        return await self.database.read("test", ask)

    async def keys(self, prefix: str = "") -> list[str]:
        """Give the keys of all objects in order."""
        return sorted([stat.key async for stat in self.objects.list(prefix)])

    async def check(self, topic: str | None = None) -> None:
        """Fail unless every row describes an object that exists and holds its message."""
        for row in await self.rows(topic):
            found = await lookup.read_message(self.objects, row)
            assert found.annotations["con_text_uuid"] == str(row.uuid)
            assert (found.topic, found.timestamp_ms) == (row.topic, row.timestamp)
            assert zlib.crc32(found.payload) == row.message_crc32

    async def check_complete(self, topic: str, *, left_over: int = 0) -> None:
        """Fail unless rows, objects and statistics of a topic tell the same story.

        `left_over` objects may be there without a row.
        """
        await self.check(topic)
        rows = await self.rows(topic)
        assert len(set(await self.keys(f"{topic}/")) - {row.key for row in rows}) <= left_over
        times = [row.timestamp for row in rows]
        wanted = Statistics(min(times), max(times), len(rows))
        assert (await self.statistics())[topic] == wanted
