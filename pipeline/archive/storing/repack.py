"""Move stored messages from objects of their own into packs, or back; no byte of any message changes.

May be stopped, killed and repeated at any point. The new object is durable and read back before a row
points to it; rows change in one transaction; an old object is removed only when no row points to it. Packs
made here have manifests like all others, of no partition, which say what a run that was stopped left to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec
import structlog
from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive import lookup
from pipeline.archive.archive import Archive
from pipeline.archive.keys import archive_key
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.packs import pack_key
from pipeline.archive.storing import pack_manifests
from pipeline.archive.storing import repack_steps as steps
from pipeline.archive.storing.dedupe import Stretch
from pipeline.archive.storing.pack_manifests import Manifest, Plan
from pipeline.database.tables import messages
from pipeline.database.tables import topics as statistics
from pipeline.errors import BadInput, Conflict, Damaged, NotFound

log = structlog.get_logger(__name__)

NO_PARTITION = -1
"""What the manifests of packs made here have for a partition; their offsets are the rows' ids."""

Layout = Literal["packs", "objects"]


class Repacked(NamedTuple):
    """What was moved, or would be: messages, the objects they lay in and lie in now, and their bytes.

    `skipped` messages stay where they are: too large, or their object is missing, damaged or not ours.
    """

    messages: int
    objects_before: int
    objects_after: int
    size_bytes: int
    skipped: int


class _Counts(msgspec.Struct):
    """The same while it is counted."""

    messages: int = 0
    objects_before: int = 0
    objects_after: int = 0
    size_bytes: int = 0
    skipped: int = 0

    def moved(self, rows: Sequence[ArchivedRow], before: int, after: int) -> None:
        """Count messages moved, out of so many objects and into so many."""
        self.messages += len(rows)
        self.objects_before += before
        self.objects_after += after
        self.size_bytes += sum(row.size for row in rows)


async def repack(
    archive: Archive,
    *,
    to: Layout,
    topics: Sequence[str] = ("*",),
    pack_records: int = limits_archive.ARCHIVE_PACK_RECORDS,
    pack_bytes: int = limits_archive.ARCHIVE_PACK_BYTES,
    concurrency: int = limits_archive.ARCHIVE_CONCURRENCY,
    dry_run: bool = False,
) -> Repacked:
    """Move every message of the topics (globs) that does not lie as `to` says.

    Messages of a partition are packed in order of offset, those that never stood in a log by time. With
    `dry_run` nothing is changed, and no object is read.

    Raises:
        Conflict: The archive is protected.
        Unavailable: The store or the database does not answer; run it again.
    """
    if archive.protected and not dry_run:
        raise Conflict("repack the archive", "it is protected", "see the setting archive.protected")
    counts, size = _Counts(), _Size(pack_records, pack_bytes)
    for topic in await _topics(archive, topics):
        work = _Repacking(archive, topic, counts, size, concurrency, dry_run=dry_run)
        await (work.pack() if to == "packs" else work.unpack())
    return Repacked(*msgspec.structs.astuple(counts))


async def _topics(archive: Archive, globs: Sequence[str]) -> list[str]:
    async def ask(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(select(statistics.c.topic))).scalars())

    stored = await archive.database.read("list archived topics", ask)
    return sorted(topic for topic in stored if any(fnmatchcase(topic, glob) for glob in globs))


class _Size(NamedTuple):
    """How large packs become."""

    records: int
    size_bytes: int


class _Repacking:
    """The work on one topic."""

    def __init__(
        self,
        archive: Archive,
        topic: str,
        counts: _Counts,
        size: _Size,
        concurrency: int,
        *,
        dry_run: bool,
    ) -> None:
        self._archive = archive
        self._topic = topic
        self._counts = counts
        self._size = size
        self._concurrency = concurrency
        self._dry_run = dry_run

    # --- into packs ---

    async def pack(self) -> None:
        """Put all messages that have objects of their own into packs."""
        if not self._dry_run:
            await self._finish_left()
        async for group in self._groups():
            if self._dry_run:
                self._counts.moved(group, len(group), 1)
            else:
                await self._pack_group(group)

    async def _finish_left(self) -> None:
        everything = Stretch(self._archive.cluster, self._topic, NO_PARTITION, 0, 2**63 - 1)

        async def ask(connection: AsyncConnection) -> list[Manifest]:
            return await pack_manifests.unfinished(connection, everything)

        for manifest in await self._archive.database.read("look for packs left", ask):
            await self._finish(manifest)

    async def _groups(self) -> AsyncIterator[list[ArchivedRow]]:
        """Yield what goes into one pack each: messages of one partition, or without one, in order."""
        group: list[ArchivedRow] = []
        async for row in self._alone():
            if row.size > self._size.size_bytes or not _is_ours(self._archive, row):
                self._counts.skipped += 1
                continue
            full = len(group) >= self._size.records or (
                sum(each.size for each in group) + row.size > self._size.size_bytes
            )
            if group and (full or _partition(group[0]) != _partition(row)):
                yield group
                group = []
            group.append(row)
        if group:
            yield group

    async def _alone(self) -> AsyncIterator[ArchivedRow]:
        """Yield the rows of messages with objects of their own: by place, then those without by time."""
        column = messages.c
        cluster = func.coalesce(column.cluster, "")
        place = [cluster, column.kafka_partition, column.kafka_offset, column.timestamp, column.id]
        for order, placed in ((place, True), ([column.timestamp, column.id], False)):
            after: ArchivedRow | None = None
            while True:
                query = select(*lookup.COLUMNS).where(
                    column.topic == self._topic,
                    column.pack_offset.is_(None),
                    column.kafka_offset.is_not(None) if placed else column.kafka_offset.is_(None),
                )
                if after is not None:
                    query = query.where(tuple_(*order) > _order(after, placed=placed))
                rows = await self._rows(query.order_by(*order).limit(limits_archive.ARCHIVE_PACK_RECORDS))
                for row in rows:
                    yield row
                if not rows:
                    break
                after = rows[-1]

    async def _rows(self, query: Select[Any]) -> list[ArchivedRow]:
        async def ask(connection: AsyncConnection) -> list[ArchivedRow]:
            return [ArchivedRow(*row) for row in await connection.execute(query)]

        return await self._archive.database.read("list messages to repack", ask)

    async def _pack_group(self, group: list[ArchivedRow]) -> None:
        archive = self._archive
        read = await steps.read_documents(archive.objects, group, self._concurrency)
        self._counts.skipped += len(group) - len(read)
        if not read:
            return
        first, last = read[0][0], read[-1][0]

        async def claim(connection: AsyncConnection) -> Manifest | None:
            return await pack_manifests.claim(connection, self._plan(first, last))

        manifest = await archive.database.write("plan a pack", claim)
        if manifest is None or manifest.finished:
            self._counts.skipped += len(read)
            return
        # True from here: the manifest says that an object may lie under its key.
        await steps.put_if_absent(
            archive.objects, manifest.key, b"".join([document for _, document in read])
        )
        await self._finish(manifest)

    def _plan(self, first: ArchivedRow, last: ArchivedRow) -> Plan:
        # No pack that came from a log has this uuid: those are made from places.
        uuid = uuid5(NAMESPACE_URL, f"repacked:{first.key}")
        return Plan(
            cluster=self._archive.cluster,
            topic=self._topic,
            kafka_partition=NO_PARTITION,
            first_offset=first.id,
            last_offset=last.id,
            timestamp=first.timestamp,
            ingest_time=int(self._archive.clock.unix() * 1000),
            key=pack_key(self._topic, first.timestamp, uuid, self._archive.prefix),
            bucket=self._archive.bucket,
        )

    async def _finish(self, manifest: Manifest) -> None:
        """Let the rows of what a pack holds point to it, remove their old objects, finish its manifest."""
        archive = self._archive
        try:
            pack = await steps.read_pack(archive.objects, manifest.key)
        except (NotFound, Damaged) as error:
            log.warning("a pack is given up", key=manifest.key, reason=str(error))
            await steps.forget_pack(archive, manifest)
            return
        moved = await steps.point_into(archive, manifest, pack.held)
        # True from here: the rows point into the pack; objects of their own may still be there.
        old = [archive_key(self._topic, each.timestamp, each.uuid, archive.prefix) for each in moved]
        await steps.erase_unused(archive, old, self._concurrency)
        if not moved:
            await steps.forget_pack(archive, manifest)
            return

        async def finish(connection: AsyncConnection) -> None:
            await pack_manifests.finish(connection, manifest, pack.written)

        await archive.database.write("finish a pack", finish)
        self._counts.moved(moved, len(moved), 1)

    # --- out of packs ---

    async def unpack(self) -> None:
        """Give all messages that lie in packs objects of their own."""
        if not self._dry_run:
            await steps.erase_empty_packs(self._archive, self._topic)
        after = ""
        while rows := await self._next_pack(after):
            after = rows[0].key
            if self._dry_run:
                self._counts.moved(rows, 1, len(rows))
            else:
                await self._unpack(rows)

    async def _next_pack(self, after: str) -> list[ArchivedRow]:
        column = messages.c
        packed = column.topic == self._topic, column.pack_offset.is_not(None)
        first = select(func.min(column.key)).where(*packed, column.key > after)
        query = select(*lookup.COLUMNS).where(*packed, column.key == first.scalar_subquery())
        return await self._rows(query.order_by(column.pack_offset))

    async def _unpack(self, rows: list[ArchivedRow]) -> None:
        archive = self._archive
        try:
            moved = await steps.copy_out(archive, rows, self._concurrency)
        except (NotFound, Damaged, BadInput) as error:
            log.warning("a pack is not taken apart", key=rows[0].key, reason=str(error))
            moved = []
        self._counts.skipped += len(rows) - len(moved)
        if not moved:
            return
        # True from here: each message lies in an object of its own too.
        await steps.point_alone(archive, moved)
        # True from here: no row of those points into the pack.
        await steps.erase_unused(archive, [rows[0].key], self._concurrency)
        await steps.forget_erased(archive, rows[0].key)
        self._counts.moved(moved, 1, len(moved))


def _is_ours(archive: Archive, row: ArchivedRow) -> bool:
    """Say whether a row's object lies where this archive puts it, and so can be found again later."""
    try:
        expected = archive_key(row.topic, row.timestamp, row.uuid, archive.prefix)
    except BadInput:
        return False
    return (row.key, row.bucket) == (expected, archive.bucket)


def _partition(row: ArchivedRow) -> tuple[str | None, int | None]:
    return row.cluster, row.kafka_partition


def _order(row: ArchivedRow, *, placed: bool) -> tuple[object, ...]:
    if not placed:
        return row.timestamp, row.id
    return row.cluster or "", row.kafka_partition, row.kafka_offset, row.timestamp, row.id
