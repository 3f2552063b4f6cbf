"""Find archived messages by uuid or by record key, and read them back from their objects."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive import bson
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.errors import BadInput, Damaged
from pipeline.objects.port import ObjectStore

ROWS_MAX = 1000
"""Most rows one look-up returns."""


class ArchivedRow(msgspec.Struct, frozen=True):
    """A row of the archive. The fields after `retracted` are None in rows upstream wrote."""

    id: int
    topic: str
    timestamp: int
    uuid: UUID
    size: int
    key: str
    bucket: str
    crc32: int
    is_client_uuid: bool
    public: bool
    direct_upload: bool
    message_crc32: int
    title: str
    sender: str
    media_type: str
    file_name: str
    originator: str
    retracted: bool
    kafka_partition: int | None
    kafka_offset: int | None
    cluster: str | None
    ingested_at: dt.datetime | None
    sha256: bytes | None
    layout: int | None
    event_key: str | None
    pack_offset: int | None = None
    """Where its document begins in an object that holds many; None when it is the whole object."""


COLUMNS = [messages.c[name] for name in ArchivedRow.__struct_fields__]


async def by_uuid(database: Database, uuid: UUID) -> ArchivedRow | None:
    """Find the message with that uuid. Raises `Unavailable`, as all look-ups do."""
    found = await _find(database, messages.c.uuid == uuid)
    return found[0] if found else None


async def by_event_key(database: Database, event_key: str) -> list[ArchivedRow]:
    """Find the public messages whose Kafka record key is that text, oldest first, at most `ROWS_MAX`."""
    return await _find(database, messages.c.event_key == event_key, messages.c.public)


async def _find(database: Database, *conditions: ColumnElement[bool]) -> list[ArchivedRow]:
    query = select(*COLUMNS).where(*conditions).order_by(messages.c.id).limit(ROWS_MAX)

    async def ask(connection: AsyncConnection) -> Sequence[object]:
        return (await connection.execute(query)).all()

    rows = await database.read("find archived messages", ask)
    return [ArchivedRow(*row) for row in rows]  # type: ignore[misc]


async def read_bytes(objects: ObjectStore, row: ArchivedRow) -> bytes:
    """Read the document of a row as it lies in the store, with one ranged read where it stands in a pack.

    Raises:
        NotFound: It is not in the store. Damaged: Its pack ends before it. Unavailable: As `read_object`.
    """
    first = row.pack_offset or 0
    last = None if row.pack_offset is None else first + row.size - 1
    try:
        download = await objects.get(row.key, first=first, last=last)
    except BadInput as error:
        raise Damaged(f"read the archived object {row.key}", f"it ends before offset {first}") from error
    return b"".join([chunk async for chunk in download])


async def read_object(objects: ObjectStore, row: ArchivedRow) -> bytes:
    """Read the BSON document of a row and compare them.

    Raises:
        NotFound: It is not in the store. Damaged: Its size or CRC-32 is not what the row says.
        Unavailable: The store does not answer.
    """
    data = await read_bytes(objects, row)
    compare(row, data)
    return data


def compare(row: ArchivedRow, data: bytes) -> None:
    """Return when a document is the one its row describes. Raises `Damaged` when it is another."""
    if len(data) != row.size:
        raise Damaged(f"read the archived object {row.key}", f"size {len(data)}, its row says {row.size}")
    if zlib.crc32(data) != row.crc32:
        raise Damaged(
            f"read the archived object {row.key}", f"CRC-32 {zlib.crc32(data)}, its row says {row.crc32}"
        )


async def read_message(objects: ObjectStore, row: ArchivedRow) -> bson.Document:
    """Read a message back from its object.

    Raises:
        NotFound, Damaged, Unavailable: As `read_object`; Damaged also when it is no archived message.
    """
    return bson.decode(await read_object(objects, row))
