"""The rows of an archive as its objects see them: each object with all rows that point to it.

Rows are read in the order of their keys, some at a time, so that each object comes once, whole packs too,
and memory does not depend on the size of the archive.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive import listing
from pipeline.database.engine import Database
from pipeline.database.tables import archive_packs, messages

_ROUNDS = 10
"""Draws of a sample after which it stays smaller than asked for: most serial numbers are unused."""


class AuditRow(msgspec.Struct, frozen=True):
    """What a row says of its object."""

    id: int
    uuid: UUID
    key: str
    size: int
    crc32: int
    message_crc32: int
    sha256: bytes | None
    pack_offset: int | None

    @property
    def first(self) -> int:
        """Give the offset of its document in the object."""
        return self.pack_offset or 0

    @property
    def end(self) -> int:
        """Give the offset behind its document."""
        return self.first + self.size


class Manifest(msgspec.Struct, frozen=True):
    """What was noted of a whole pack; size and CRC-32 are None while it is unfinished."""

    key: str
    n_messages: int | None
    size: int | None
    crc32: int | None


class Held(msgspec.Struct, frozen=True):
    """An object and rows that point to it: all there are when it is `whole`, else a choice of them."""

    key: str
    rows: list[AuditRow]
    manifest: Manifest | None = None
    whole: bool = True


_COLUMNS = [messages.c[name] for name in AuditRow.__struct_fields__]
_MANIFEST = [archive_packs.c[name] for name in Manifest.__struct_fields__]


async def topics_like(database: Database, pattern: str) -> Collection[str] | None:
    """Name the topics an SQL LIKE pattern means, case told apart; None when it means all of them."""
    if pattern == "%":
        return None
    meant = re.compile("".join(_expression(pattern)), re.DOTALL)
    return [name for name in await listing.topic_names(database) if meant.fullmatch(name)]


def _expression(pattern: str) -> Iterable[str]:
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            yield re.escape(next(characters, "\\"))
        else:
            yield {"%": ".*", "_": "."}.get(character) or re.escape(character)


async def count(database: Database, topics: Collection[str] | None) -> int:
    """Count the messages of the topics, of all when None."""
    query = select(func.count()).select_from(messages).where(*_of(topics))

    async def ask(connection: AsyncConnection) -> int:
        return int((await connection.execute(query)).scalar_one())

    return await database.read("count archived messages", ask)


async def objects(database: Database, topics: Collection[str] | None) -> AsyncIterator[Held]:
    """Yield every object rows of the topics point to, with these rows."""
    held: Held | None = None
    place: AuditRow | None = None
    while rows := await _page(database, topics, place):
        place = rows[-1]
        manifests = await manifests_of(database, {row.key for row in rows if row.pack_offset is not None})
        for row in rows:
            if held is not None and held.key != row.key:
                yield held
                held = None
            held = held or Held(row.key, [], manifests.get(row.key))
            held.rows.append(row)
    if held is not None:
        yield held


async def _page(
    database: Database, topics: Collection[str] | None, place: AuditRow | None
) -> Sequence[AuditRow]:
    beyond: list[ColumnElement[bool]] = []
    if place is not None:
        # The first condition lets the index over keys start there.
        key, serial = messages.c.key, messages.c.id
        beyond = [key >= place.key, or_(key > place.key, serial > place.id)]
    query = (
        select(*_COLUMNS)
        .where(*_of(topics), *beyond)
        .order_by(messages.c.key, messages.c.id)
        .limit(limits_archive.ARCHIVE_AUDIT_ROWS)
    )
    return await _rows(database, query)


async def sample(database: Database, topics: Collection[str] | None, size: int) -> AsyncIterator[Held]:
    """Yield objects of rows taken by chance, with those rows: at most `size`, all when there are few.

    Serial numbers are drawn, so that no table is read whole; a row behind a gap comes somewhat more often.
    """
    ids: set[int] = set()
    first, last = await _ends(database, topics)
    for _ in range(_ROUNDS):
        ids |= await _drawn(database, topics, [random.randint(first, last) for _ in range(size)])  # noqa: S311 - no secret
        if len(ids) >= size:
            break
    chosen = sorted(ids)
    if len(chosen) < size:
        # Few rows, or few among many numbers: the beginning fills what chance did not.
        chosen = sorted({*chosen, *await _first(database, topics, 2 * size)})
    random.shuffle(chosen)
    query = select(*_COLUMNS).where(messages.c.id.in_(chosen[:size])).order_by(messages.c.key)
    held: dict[str, Held] = {}
    for row in await _rows(database, query):
        held.setdefault(row.key, Held(row.key, [], whole=False)).rows.append(row)
    for each in held.values():
        yield each


async def _ends(database: Database, topics: Collection[str] | None) -> tuple[int, int]:
    async def ask(connection: AsyncConnection) -> tuple[int, int]:
        first = select(func.min(messages.c.id)).where(*_of(topics))
        last = select(func.max(messages.c.id)).where(*_of(topics))
        ends = [(await connection.execute(query)).scalar_one() for query in (first, last)]
        return ends[0] or 0, ends[1] or 0

    return await database.read("find the ends of the archive", ask)


async def _drawn(database: Database, topics: Collection[str] | None, numbers: Sequence[int]) -> set[int]:
    async def ask(connection: AsyncConnection) -> set[int]:
        found = set()
        for number in numbers:
            query = select(func.min(messages.c.id)).where(messages.c.id >= number, *_of(topics))
            found.add((await connection.execute(query)).scalar_one())
        return found - {None}

    return await database.read("draw rows", ask)


async def _first(database: Database, topics: Collection[str] | None, size: int) -> list[int]:
    query = select(messages.c.id).where(*_of(topics)).order_by(messages.c.id).limit(size)

    async def ask(connection: AsyncConnection) -> list[int]:
        return list((await connection.execute(query)).scalars())

    return await database.read("draw rows", ask)


def _of(topics: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if topics is None else [messages.c.topic.in_(list(topics))]


async def _rows(database: Database, query: Any) -> list[AuditRow]:
    async def ask(connection: AsyncConnection) -> list[AuditRow]:
        return [AuditRow(*row) for row in await connection.execute(query)]

    return await database.read("read rows for an audit", ask)


async def manifests_of(database: Database, keys: Collection[str]) -> Mapping[str, Manifest]:
    """Find what was noted of the packs of these keys."""
    if not keys:
        return {}
    query = select(*_MANIFEST).where(archive_packs.c.key.in_(list(keys)))

    async def ask(connection: AsyncConnection) -> dict[str, Manifest]:
        return {row.key: Manifest(*row) for row in await connection.execute(query)}

    return await database.read("read packs for an audit", ask)
