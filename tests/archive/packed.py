"""Looks at packs: what lies in them, what their manifests say, and whether the two agree with the rows."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive import bson
from pipeline.archive.packs import split
from pipeline.database.engine import Database
from pipeline.database.tables import archive_packs
from tests.archive.archived import Archive


class Noted(NamedTuple):
    """What the manifest of a pack says."""

    first_offset: int
    last_offset: int
    n_messages: int | None
    size: int | None
    crc32: int | None
    key: str


async def manifests(database: Database) -> list[Noted]:
    """Give all manifests by first offset."""
    columns = [archive_packs.c[name] for name in Noted._fields]
    query = select(*columns).order_by(archive_packs.c.topic, archive_packs.c.first_offset)

    async def ask(connection: AsyncConnection) -> list[Noted]:
        return [Noted(*row) for row in await connection.execute(query)]

    return await database.read("test", ask)


async def read(archive: Archive, key: str) -> bytes:
    """Read an object whole."""
    return b"".join([chunk async for chunk in await archive.objects.get(key)])


async def payloads(archive: Archive, key: str) -> list[bytes]:
    """Give the payloads of a pack, read without the database."""
    return [bson.decode(part.document).payload for part in split(await read(archive, key))]


async def check_packs(archive: Archive) -> None:
    """Fail unless every pack is noted as it is, and each of its documents has exactly one row."""
    noted = await manifests(archive.database)
    packs = [key for key in await archive.keys() if key.endswith(".pack")]
    assert sorted(each.key for each in noted) == packs
    held = Counter(
        (row.key, row.pack_offset, row.size, row.crc32)
        for row in await archive.rows()
        if row.pack_offset is not None
    )
    for each in noted:
        data = await read(archive, each.key)
        parts = list(split(data))
        assert (each.n_messages, each.size, each.crc32) == (len(parts), len(data), zlib.crc32(data))
        for offset, document in parts:
            assert held.pop((each.key, offset, len(document), zlib.crc32(document))) == 1
    assert not held
