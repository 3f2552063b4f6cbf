"""The manifest of a pack: which part of a partition it holds, noted before its object is written.

A manifest that is not finished says that an object may lie under its key of which no row tells yet. Whoever
comes to that part of the partition next writes that object, or makes rows of the one that is there; so
nothing is left over, whenever a writer was stopped. Two writers at the same part are settled by the
unique index on where a pack begins: both have the same manifest then, and one key.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.storing.dedupe import Stretch
from pipeline.database.tables import archive_packs, messages


class Plan(msgspec.Struct, frozen=True):
    """What a manifest says from the beginning. `timestamp` and `ingest_time` are ms; see the table."""

    cluster: str
    topic: str
    kafka_partition: int
    first_offset: int
    last_offset: int
    timestamp: int
    ingest_time: int
    key: str
    bucket: str


class Manifest(Plan, frozen=True, kw_only=True):
    """A manifest as it is stored; `n_messages` is None until its object and its rows are durable."""

    id: int
    n_messages: int | None = None

    @property
    def finished(self) -> bool:
        """Say whether nothing is left to be done about it."""
        return self.n_messages is not None


class Written(NamedTuple):
    """What a pack turned out to be."""

    n_messages: int
    size_bytes: int
    crc32: int


COLUMNS = [archive_packs.c[name] for name in Manifest.__struct_fields__]


async def unfinished(connection: AsyncConnection, part: Stretch) -> list[Manifest]:
    """Give the unfinished manifests that touch a part of a partition, in order of offset."""
    table = archive_packs.c
    return await _find(
        connection,
        table.n_messages.is_(None),
        table.cluster == part.cluster,
        table.topic == part.topic,
        table.kafka_partition == part.partition,
        table.first_offset <= part.last_offset,
        table.last_offset >= part.first_offset,
    )


async def claim(connection: AsyncConnection, plan: Plan) -> Manifest | None:
    """Note a plan and return its manifest, or the one there is of a pack that begins at the same place.

    None when that one was removed at this very moment.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = msgspec.structs.asdict(plan)
    await connection.execute(dialect.insert(archive_packs).values(values).on_conflict_do_nothing())
    table = archive_packs.c
    found = await _find(
        connection,
        table.cluster == plan.cluster,
        table.topic == plan.topic,
        table.kafka_partition == plan.kafka_partition,
        table.first_offset == plan.first_offset,
        table.timestamp == plan.timestamp,
    )
    return found[0] if found else None


async def finish(connection: AsyncConnection, manifest: Manifest, written: Written) -> None:
    """Note what the pack is; whoever did so first is right."""
    count, size_bytes, crc32 = written
    values = {"n_messages": count, "size": size_bytes, "crc32": crc32}
    table = archive_packs.c
    await connection.execute(
        update(archive_packs).where(table.id == manifest.id, table.n_messages.is_(None)).values(values)
    )


async def remove(connection: AsyncConnection, manifest: Manifest) -> None:
    """Forget a pack whose object is gone."""
    await connection.execute(delete(archive_packs).where(archive_packs.c.id == manifest.id))


async def is_used(connection: AsyncConnection, key: str) -> bool:
    """Say whether a message lies in the object of that key."""
    query = select(messages.c.id).where(messages.c.key == key).limit(1)
    return (await connection.execute(query)).first() is not None


async def _find(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> list[Manifest]:
    query = select(*COLUMNS).where(*conditions).order_by(archive_packs.c.first_offset)
    return [Manifest(**row) for row in (await connection.execute(query)).mappings()]
