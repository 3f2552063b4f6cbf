"""The steps of repacking, each of which may be repeated: objects first, then rows, then what is left."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive import lookup
from pipeline.archive.archive import Archive
from pipeline.archive.keys import archive_key
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.packs import documents
from pipeline.archive.rows import Row, found_row
from pipeline.archive.storing import pack_manifests
from pipeline.archive.storing.pack_manifests import Manifest, Written
from pipeline.archive.storing.slots import for_each
from pipeline.database.tables import archive_packs, messages
from pipeline.errors import Conflict, Damaged, NotFound
from pipeline.objects.port import ObjectStore
from pipeline.objects.versions import erase


class Pack(NamedTuple):
    """What lies in a pack: the row each document would have, and what the whole is."""

    held: list[Row]
    written: Written


async def read_documents(
    objects: ObjectStore, rows: Sequence[ArchivedRow], concurrency: int
) -> list[tuple[ArchivedRow, bytes]]:
    """Read the documents of rows, in order, so many at once; those missing or damaged are left out."""
    found: dict[int, bytes] = {}

    async def read(row: ArchivedRow) -> None:
        try:
            found[row.id] = await lookup.read_object(objects, row)
        except (NotFound, Damaged):
            return

    await for_each(rows, read, concurrency)
    return [(row, found[row.id]) for row in rows if row.id in found]


async def put_if_absent(objects: ObjectStore, key: str, data: bytes) -> None:
    """Store an object, unless one lies there: then that one is used for what it holds."""
    try:
        await objects.put(key, data, only_if_absent=True)
    except Conflict:
        return


async def read_pack(objects: ObjectStore, key: str) -> Pack:
    """Read a pack and tell what is in it. Raises `NotFound`, or `Damaged` when it is no pack."""
    held: list[Row] = []
    size_bytes, crc32 = 0, 0
    async for offset, document in documents(await objects.get(key)):
        held.append(found_row(document, key, "", offset))
        size_bytes, crc32 = size_bytes + len(document), zlib.crc32(document, crc32)
    return Pack(held, Written(len(held), size_bytes, crc32))


async def point_into(archive: Archive, manifest: Manifest, held: Sequence[Row]) -> list[ArchivedRow]:
    """Let the rows of documents in a pack point there, and return them, also those that did before.

    Only rows whose document is the same to the byte, and that lie alone where this archive puts them.
    """

    async def write(connection: AsyncConnection) -> list[ArchivedRow]:
        moved: list[ArchivedRow] = []
        for start in range(0, len(held), limits_archive.ARCHIVE_COPY_ROWS):
            some = {row.uuid: row for row in held[start : start + limits_archive.ARCHIVE_COPY_ROWS]}
            rows = [row for row in await _by_uuid(connection, some) if _is_same(archive, row, some)]
            changes: list[dict[str, object]] = [
                {"id_": row.id, "key_": manifest.key, "offset_": some[row.uuid].pack_offset} for row in rows
            ]
            await _change(connection, changes, manifest.bucket)
            moved += rows
        return moved

    return await archive.database.write("point into a pack", write)


def _is_same(archive: Archive, row: ArchivedRow, held: dict[UUID, Row]) -> bool:
    there = held[row.uuid]
    alone = archive_key(row.topic, row.timestamp, row.uuid, archive.prefix)
    return (row.size, row.crc32) == (there.size, there.crc32) and row.key in {alone, there.key}


async def _by_uuid(connection: AsyncConnection, uuids: Collection[UUID]) -> list[ArchivedRow]:
    query = select(*lookup.COLUMNS).where(messages.c.uuid.in_(list(uuids)))
    return [ArchivedRow(*row) for row in await connection.execute(query)]


async def _change(connection: AsyncConnection, changes: Sequence[dict[str, object]], bucket: str) -> None:
    if changes:
        values = {"key": bindparam("key_"), "pack_offset": bindparam("offset_"), "bucket": bucket}
        await connection.execute(
            update(messages).where(messages.c.id == bindparam("id_")).values(values), list(changes)
        )


async def copy_out(archive: Archive, rows: Sequence[ArchivedRow], concurrency: int) -> list[ArchivedRow]:
    """Give messages of one pack objects of their own; return the rows of those that have one now.

    Raises:
        NotFound, Damaged: The pack is not what it should be. BadInput: A topic can be no part of a key.
    """
    wanted = {row.pack_offset: row for row in rows}
    moved: list[ArchivedRow] = []

    async def put(each: tuple[ArchivedRow, bytes]) -> None:
        row, document = each
        key = archive_key(row.topic, row.timestamp, row.uuid, archive.prefix)
        await put_if_absent(archive.objects, key, document)
        if await _is_there(archive.objects, key, document):
            moved.append(row)

    waiting: list[tuple[ArchivedRow, bytes]] = []
    async for offset, document in documents(await archive.objects.get(rows[0].key)):
        row = wanted.get(offset)
        if row is None or (row.size, row.crc32) != (len(document), zlib.crc32(document)):
            continue
        waiting.append((row, document))
        if len(waiting) == limits_archive.ARCHIVE_COPY_ROWS:
            await for_each(waiting, put, concurrency)
            waiting.clear()
    await for_each(waiting, put, concurrency)
    return moved


async def _is_there(objects: ObjectStore, key: str, document: bytes) -> bool:
    """Read an object back and say whether it is that document; another may have lain there before."""
    return b"".join([chunk async for chunk in await objects.get(key)]) == document


async def point_alone(archive: Archive, rows: Sequence[ArchivedRow]) -> None:
    """Let rows point to objects of their own."""
    changes: list[dict[str, object]] = [
        {
            "id_": row.id,
            "key_": archive_key(row.topic, row.timestamp, row.uuid, archive.prefix),
            "offset_": None,
        }
        for row in rows
    ]

    async def write(connection: AsyncConnection) -> None:
        await _change(connection, changes, archive.bucket)

    await archive.database.write("point to single objects", write)


async def erase_unused(archive: Archive, keys: Sequence[str], concurrency: int) -> None:
    """Remove those objects to which no row points."""

    async def ask(connection: AsyncConnection) -> set[str]:
        used: set[str] = set()
        for start in range(0, len(keys), limits_archive.ARCHIVE_COPY_ROWS):
            some = keys[start : start + limits_archive.ARCHIVE_COPY_ROWS]
            used.update(
                (await connection.execute(select(messages.c.key).where(messages.c.key.in_(some)))).scalars()
            )
        return used

    used = await archive.database.read("look for objects in use", ask)

    async def remove(key: str) -> None:
        await erase(archive.objects, key)

    await for_each([key for key in keys if key not in used], remove, concurrency)


async def forget_pack(archive: Archive, manifest: Manifest) -> None:
    """Remove a pack to which no row points, its object first, then its manifest."""
    await erase_unused(archive, [manifest.key], 1)
    await forget_erased(archive, manifest.key)


async def forget_erased(archive: Archive, key: str) -> None:
    """Remove the manifest of a pack to which no row points."""
    unused = ~exists().where(messages.c.key == archive_packs.c.key)

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(delete(archive_packs).where(archive_packs.c.key == key, unused))

    await archive.database.write("forget a pack", write)


async def erase_empty_packs(archive: Archive, topic: str) -> None:
    """Remove the finished packs of a topic to which no row points: a run stopped before it did so."""
    pack = archive_packs.c
    unused = ~exists().where(messages.c.key == pack.key)
    query = select(*pack_manifests.COLUMNS).where(pack.topic == topic, pack.n_messages > 0, unused)

    async def ask(connection: AsyncConnection) -> list[Manifest]:
        return [Manifest(**row) for row in (await connection.execute(query)).mappings()]

    for manifest in await archive.database.read("look for empty packs", ask):
        await forget_pack(archive, manifest)
