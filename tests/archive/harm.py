"""Archives with something wrong: objects lost, cut, changed; and objects of the first generation."""

from __future__ import annotations

import datetime as dt
import os
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.archive import Archive
from pipeline.archive.keys import archive_key
from pipeline.archive.lookup import ArchivedRow, by_uuid
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import ManualClock, SystemClock
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.objects.location import make_store
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import ObjectStore
from tests.archive.archived import TIME_MS, TOPIC, a_message
from tests.archive.conftest import plain_text
from tests.conftest import S3Server
from tests.stores import s3_url


@asynccontextmanager
async def a_store(
    database: Database, request: pytest.FixtureRequest, folder: Path, unique: str
) -> AsyncIterator[ObjectStore]:
    """Give an empty store: real S3 beside PostgreSQL where there is one, else memory."""
    if database.kind == "postgresql" and os.environ.get("PIPELINE_TEST_S3_ENDPOINT"):
        server: S3Server = request.getfixturevalue("s3_server")
        store = make_store(s3_url(server, unique), data_folder=folder)
    else:
        store = MemoryStore(folder / "spool")
    await store.open()
    try:
        yield store
        for stat in [stat async for stat in store.list()]:
            await store.delete(stat.key)
    finally:
        await store.close()


def later(days: float = 1) -> ManualClock:
    """Give a clock for which everything stored by now was stored long ago."""
    return ManualClock(dt.datetime.now(dt.UTC) + dt.timedelta(days=days))


def an_archive(objects: ObjectStore, database: Database, **changes: Any) -> Archive:
    """Describe an archive to those who audit and tidy it."""
    fields: dict[str, Any] = {"objects": objects, "database": database, "clock": later()}
    return Archive(**(fields | changes))


async def filled(
    archive: Archive, layout: str = "objects", *, topic: str = TOPIC, messages: int = 4, first: int = 0
) -> list[ArchivedRow]:
    """Archive messages with the payloads ``value 0``, ``value 1``, … and return their rows in order."""
    writer = ArchiveWriter(
        archive.objects,
        archive.database,
        clock=SystemClock(),
        media_types=plain_text,
        prefix=archive.prefix,
        bucket=archive.bucket,
    )
    wanted = [
        a_message(n, topic=topic, timestamp_ms=TIME_MS + n, value=f"value {n}".encode())
        for n in range(first, first + messages)
    ]
    outcomes = await (PackWriter(writer) if layout == "packs" else writer).store(wanted)
    return await rows_of(archive, [outcome.uuid for outcome in outcomes if outcome.uuid])


async def rows_of(archive: Archive, uuids: Sequence[UUID]) -> list[ArchivedRow]:
    """Give the rows of uuids that have one, in their order."""
    found = [await by_uuid(archive.database, uuid) for uuid in uuids]
    return [row for row in found if row is not None]


async def bytes_of_object(objects: ObjectStore, key: str) -> bytes:
    """Read an object whole."""
    return b"".join([chunk async for chunk in await objects.get(key)])


async def flip_bit(objects: ObjectStore, row: ArchivedRow, wanted: bytes = b"value") -> None:
    """Change one bit of a message's document, where these bytes stand in it."""
    data = bytearray(await bytes_of_object(objects, row.key))
    first = row.pack_offset or 0
    data[data.index(wanted, first, first + row.size)] ^= 1
    await objects.put(row.key, bytes(data))


async def cut(objects: ObjectStore, key: str, to_bytes: int) -> None:
    """Keep only the beginning of an object."""
    await objects.put(key, (await bytes_of_object(objects, key))[:to_bytes])


async def change_row(database: Database, row: ArchivedRow, **values: Any) -> None:
    """Write something else into a row."""

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(
            update(tables.messages).where(tables.messages.c.id == row.id).values(**values)
        )

    await database.write("test", write)


FIRST_GENERATION: dict[str, tuple[list[list[Any]], bool]] = {
    "as first written": ([["_id", b"0123456789abcdef"], ["_sender", b"demo-user"]], False),
    "null written as text": ([["_id", b"0123456789abcdef"], ["none", ""]], False),
    "with a key": ([["_sender", b"demo-user"]], True),
    "without _id": ([["dog", b"fido"]], False),
}
"""Headers of objects of layout 1, and whether they have a key."""


async def first_generation(
    archive: Archive, uuid: UUID, headers: Sequence[Sequence[Any]], *, key: bool = False
) -> ArchivedRow:
    """Archive a message as the first generation did (contract, sections 7.4 and 18.3)."""
    payload = b'{"a": 1}'
    metadata: dict[str, Any] = {"timestamp": TIME_MS, "headers": headers, "topic": TOPIC}
    document = bson.encode(
        {
            "message": {"format": "json", "content": payload},
            "metadata": {**metadata, "key": b"k1"} if key else metadata,
            "annotations": {
                "con_text_uuid": str(uuid),
                "con_is_client_uuid": True,
                "con_message_crc32": zlib.crc32(payload),
                "duplicate": False,
            },
        }
    )
    row = {
        "topic": TOPIC,
        "timestamp": TIME_MS,
        "uuid": uuid,
        "size": len(document),
        "key": archive_key(TOPIC, TIME_MS, uuid, archive.prefix),
        "bucket": "first",
        "crc32": zlib.crc32(document),
        "is_client_uuid": True,
        "public": False,
        "direct_upload": False,
        "message_crc32": zlib.crc32(payload),
        "layout": None,
    }

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(tables.messages), row)
        if not (await connection.execute(tables.topics.select())).first():
            values = {"topic": TOPIC, "e_timestamp": TIME_MS, "l_timestamp": TIME_MS, "n_messages": 1}
            await connection.execute(insert(tables.topics), values)

    await archive.objects.put(str(row["key"]), document)
    await archive.database.write("test", write)
    (stored,) = await rows_of(archive, [uuid])
    return stored
