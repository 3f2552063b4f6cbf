"""Compare the objects of an archive with its rows: what lies in the store that no row describes?

Objects are listed some at a time and their rows looked up together, so memory stays flat. An object that
was stored a moment ago may be waiting for its row: it is looked at again at the end before it is told.
Contract: archive section 15.2, `verify_store_to_db`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive import listing
from pipeline.archive.archive import Archive
from pipeline.archive.audit import rows as audit_rows
from pipeline.archive.audit.rows import Manifest
from pipeline.database.engine import Database
from pipeline.database.tables import archive_packs, messages
from pipeline.errors import BadInput
from pipeline.objects.versions import Versions, list_versions

Fault = Literal["no row", "size", "versions", "deleted", "unfinished"]

_MONTH = re.compile(r"(\d+)(?:/0?(\d{1,2}))?")
_ENDINGS = (".bson", ".pack")


class Stray(msgspec.Struct, frozen=True):
    """What is wrong with an object.

    ``no row``: nothing in the database describes it. ``size``: its rows or its pack's note say another one.
    ``versions``: the store keeps more than one version of it. ``deleted``: only older versions are left.
    ``unfinished``: a pack that was begun and whose messages have no rows; the archive finishes it when it
    reads them again.
    """

    fault: Fault
    key: str
    detail: str = ""


class Audited(msgspec.Struct, frozen=True):
    """An object looked at, with what is wrong with it."""

    key: str
    strays: list[Stray]


class _Rows(msgspec.Struct, frozen=True):
    """What the rows of one object say together."""

    number: int
    packed: int
    size: int
    end: int


async def verify_store(
    archive: Archive, *, topic: str = "", year_month: str = ""
) -> AsyncIterator[Audited]:
    """Yield every object below ``<topic>/<year>/<month>`` with what is wrong with it; most have nothing.

    Args:
        archive: What is audited.
        topic: One topic; all when empty.
        year_month: ``2024`` or ``2024/3``; all times when empty.

    Raises:
        BadInput: The month is none. Unavailable: The store or the database does not answer.
    """
    suspects: list[Versions] = []
    young_since = archive.clock.unix() - limits_archive.ARCHIVE_YOUNG_SECONDS
    for prefix in await _prefixes(archive, topic, year_month):
        async for some in _some(list_versions(archive.objects, prefix)):
            async for found in _compared(archive.database, some):
                one, audited = found
                young = one.stat is not None and one.stat.modified.timestamp() > young_since
                if _rowless(audited) and young and len(suspects) < limits_archive.ARCHIVE_AUDIT_SUSPECTS:
                    suspects.append(one)
                else:
                    yield audited
    for start in range(0, len(suspects), limits.OBJECT_LIST_BATCH):
        again = suspects[start : start + limits.OBJECT_LIST_BATCH]
        async for _, audited in _compared(archive.database, again):
            yield audited
    async for audited in _without_object(archive, topic):
        yield audited


async def _prefixes(archive: Archive, topic: str, year_month: str) -> Sequence[str]:
    if not year_month:
        return [f"{archive.prefix}{topic}/" if topic else archive.prefix]
    named = _MONTH.fullmatch(year_month)
    if named is None:
        raise BadInput(f"audit the objects of {year_month}", "a month is written 2024/3, a year 2024")
    year, month = named.groups()
    part = f"{year}/{month}/" if month else f"{year}/"
    topics = [topic] if topic else await listing.topic_names(archive.database)
    return [f"{archive.prefix}{name}/{part}" for name in topics]


async def _some(found: AsyncIterator[Versions]) -> AsyncIterator[list[Versions]]:
    """Gather what may be an archive's, some at a time; other things may lie below an empty prefix."""
    some: list[Versions] = []
    async for one in found:
        if one.key.endswith(_ENDINGS):
            some.append(one)
        if len(some) >= limits.OBJECT_LIST_BATCH:
            yield some
            some = []
    if some:
        yield some


async def _compared(
    database: Database, some: Sequence[Versions]
) -> AsyncIterator[tuple[Versions, Audited]]:
    keys = [one.key for one in some]
    rows = await _rows_of(database, keys)
    manifests = await audit_rows.manifests_of(database, keys)
    for one in some:
        yield one, Audited(one.key, list(_strays(one, rows.get(one.key), manifests.get(one.key))))


def _rowless(audited: Audited) -> bool:
    return any(stray.fault in {"no row", "unfinished"} for stray in audited.strays)


def _strays(one: Versions, rows: _Rows | None, manifest: Manifest | None) -> Sequence[Stray]:
    found: list[Stray] = []
    if one.stat is None:
        found.append(Stray("deleted", one.key, f"{one.number} older versions are left"))
    elif one.number > 1:
        found.append(Stray("versions", one.key, f"{one.number} versions"))
    if one.stat is not None and manifest is not None and manifest.size is None:
        found.append(Stray("unfinished", one.key, "the pack's messages have no rows yet"))
    elif one.stat is not None and rows is None:
        found.append(Stray("no row", one.key, f"{one.stat.size_bytes} bytes"))
    elif one.stat is not None and rows is not None:
        why = _wrong_size(one.stat.size_bytes, rows, manifest)
        found += [Stray("size", one.key, why)] if why else []
    return found


def _wrong_size(size_bytes: int, rows: _Rows, manifest: Manifest | None) -> str:
    if rows.packed < rows.number and rows.size != size_bytes:
        return f"{size_bytes} bytes, its row says {rows.size}"
    if rows.packed and rows.end > size_bytes:
        return f"{size_bytes} bytes, its rows end at {rows.end}"
    if manifest is not None and manifest.size not in {None, size_bytes}:
        return f"{size_bytes} bytes, {manifest.size} were stored"
    return ""


async def _rows_of(database: Database, keys: Collection[str]) -> Mapping[str, _Rows]:
    offset = messages.c.pack_offset
    query = (
        select(
            messages.c.key,
            func.count(),
            func.count(offset),
            func.max(messages.c.size),
            func.max(func.coalesce(offset, 0) + messages.c.size),
        )
        .where(messages.c.key.in_(list(keys)))
        .group_by(messages.c.key)
    )

    async def ask(connection: AsyncConnection) -> dict[str, _Rows]:
        return {key: _Rows(*values) for key, *values in await connection.execute(query)}

    return await database.read("read rows for an audit", ask)


async def _without_object(archive: Archive, topic: str) -> AsyncIterator[Audited]:
    """Yield packs that were begun long ago and have no object."""
    before_ms = int((archive.clock.unix() - limits_archive.ARCHIVE_YOUNG_SECONDS) * 1000)
    pack = archive_packs.c
    query = select(pack.key).where(pack.size.is_(None), pack.ingest_time < before_ms).order_by(pack.id)
    if topic:
        query = query.where(pack.topic == topic)

    async def ask(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(query)).scalars())

    for key in await archive.database.read("look for unfinished packs", ask):
        if await archive.objects.stat(key) is None:
            yield Audited(key, [Stray("unfinished", key, "the pack was begun and has no object")])
