"""Store messages of one partition together, in one object (archive contract, sections 5 to 12).

What is stored of them is looked up and decided first. Then, in this order: the manifest says which part of
the partition goes under which key; the object is written under that key, if nothing lies there; rows and
the end of the manifest are written in one transaction. A writer that was stopped between any two of these
leaves an unfinished manifest at most, and the next one that comes to that part of the partition writes that
object or takes over the one that is there. Boundaries need not be the same then, only the key.

Whatever cannot be in a pack (it is too large, another writer took its uuid meanwhile) gets an object of its
own, by the rules for those.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence

import structlog

from pipeline import limits_archive, metrics_archive
from pipeline.archive.identity import made_uuid
from pipeline.archive.message import Message, Place
from pipeline.archive.outcome import Outcome
from pipeline.archive.packs import documents, pack_key
from pipeline.archive.rows import Row, found_row
from pipeline.archive.storing import dedupe
from pipeline.archive.storing.dedupe import Fresh, Stretch
from pipeline.archive.storing.draft import Draft
from pipeline.archive.storing.drafting import in_turns
from pipeline.archive.storing.pack_building import Pack, PackBuilder
from pipeline.archive.storing.pack_manifests import Manifest, Plan, Written
from pipeline.archive.storing.steps import step
from pipeline.archive.storing.writer import ArchiveWriter, settle_duplicates
from pipeline.errors import BadInput, Conflict, Damaged, NotFound

log = structlog.get_logger(__name__)

_LAST_OFFSET = 2**63 - 1

Chosen = tuple[Draft, Fresh]


class PackWriter:
    """Stores messages in packs, each message once. Any number may work on the same archive.

    Args:
        alone: Stores what cannot be in a pack; its store, database and settings are used for packs too.
        pack_bytes: A message whose payload is larger gets an object of its own.
        cluster: Label of the source, as in identities.
    """

    def __init__(
        self,
        alone: ArchiveWriter,
        *,
        pack_bytes: int = limits_archive.ARCHIVE_PACK_BYTES,
        cluster: str = "",
    ) -> None:
        self._alone = alone
        self._objects = alone.objects
        self._rows = alone.rows
        self._target = alone.target
        self._rule = alone.rule
        self._pack_bytes = pack_bytes
        self._cluster = cluster

    async def store(self, messages: Sequence[Message]) -> list[Outcome]:
        """Store messages and return what became of each, in the order given.

        Those of the partition of the first one are packed, and the others stored alone. Promises and errors
        are those of `ArchiveWriter.store`.
        """
        drafts = await self._alone.drafts(messages)
        small = self._packed(drafts)
        for _ in range(limits_archive.ARCHIVE_SETTLE_ROUNDS):
            pending = [draft for draft in small if draft.outcome is None]
            if not pending or not await self._settle(pending):
                break
        return await self._alone.settle(drafts)

    def _packed(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Give the drafts that are packed, in order of offset."""
        if not drafts:
            return []
        topic, partition = drafts[0].message.topic, drafts[0].message.partition
        small = [
            draft
            for draft in drafts
            if draft.place is not None
            and draft.place.partition == partition
            and draft.place.topic == topic
            and len(draft.message.payload) <= self._pack_bytes
        ]
        return sorted(small, key=_offset)

    async def finish_left(self, topic: str, partition: int) -> None:
        """Make rows of the packs of a partition that somebody wrote and did not finish.

        What they hold may not come again: the log may have let go of it.
        """
        everything = Stretch(self._cluster, topic, partition, 0, _LAST_OFFSET)
        _, unfinished = await self._rows.known_of_part(dedupe.Wanted([], [], []), everything)
        for manifest in unfinished:
            await self._take_over(manifest, ())

    async def _settle(self, pending: Sequence[Draft]) -> bool:
        """Take the drafts as far as they go; False when what is left must be stored alone."""
        known, unfinished = await self._rows.known_of_part(dedupe.wanted(pending), _part(pending))
        if any([await self._take_over(manifest, pending) for manifest in unfinished]):
            return True
        chosen = list(zip(pending, dedupe.choose(pending, known, self._rule), strict=True))
        fresh = [(draft, choice) for draft, choice in chosen if isinstance(choice, Fresh)]
        if fresh and not await self._store_fresh(fresh, unfinished):
            return False
        if len(fresh) < len(chosen) and all(draft.stored for draft, _ in fresh):
            settle_duplicates(chosen)
        return True

    async def _store_fresh(self, fresh: list[Chosen], unfinished: Sequence[Manifest]) -> bool:
        """Write the next pack, of as many as go into it; False when what is left must be stored alone."""
        try:
            here, manifest = await self._plan(fresh, unfinished)
        except BadInput:
            return False  # Its topic can be no part of a key: each message is refused by itself.
        if manifest is None:
            return True
        if manifest.finished:
            return await self._is_gone(manifest)
        # True from here: the manifest says that an object may lie under its key.
        return await self._write(manifest, here)

    async def _plan(
        self, fresh: list[Chosen], unfinished: Sequence[Manifest]
    ) -> tuple[list[Chosen], Manifest | None]:
        """Choose how many of the messages go into the next pack, and note or find its manifest.

        One that is under way is used for the part it was made for; its object is not there.
        """
        first = _offset(fresh[0][0])
        ahead = [manifest for manifest in unfinished if manifest.last_offset >= first]
        if ahead and ahead[0].first_offset <= first:
            return [each for each in fresh if _offset(each[0]) <= ahead[0].last_offset], ahead[0]
        if ahead:
            fresh = [each for each in fresh if _offset(each[0]) < ahead[0].first_offset]
        return fresh, await self._rows.claim(self._new_plan(fresh))

    def _new_plan(self, fresh: Sequence[Chosen]) -> Plan:
        draft = fresh[0][0]
        uuid = made_uuid(draft.message, draft.cluster)
        place = _place(draft)
        return Plan(
            cluster=place.cluster,
            topic=place.topic,
            kafka_partition=place.partition,
            first_offset=place.offset,
            last_offset=_offset(fresh[-1][0]),
            timestamp=place.timestamp_ms,
            ingest_time=draft.ingest_time_ms,
            key=pack_key(place.topic, place.timestamp_ms, uuid, self._target.prefix),
            bucket=self._target.bucket,
        )

    async def _is_gone(self, manifest: Manifest) -> bool:
        """Forget a finished pack whose messages and object were removed, so that it can be made again."""
        if await self._objects.stat(manifest.key) is not None:
            return False
        await self._rows.remove(manifest)
        return True

    async def _write(self, manifest: Manifest, chosen: Sequence[Chosen]) -> bool:
        """Write a pack and its rows; False when what is left of it must be stored alone."""
        builder = PackBuilder(manifest, self._target.object_max_bytes)

        def add(start: int, end: int) -> None:
            for draft, choice in chosen[start:end]:
                builder.add(draft, choice)

        await in_turns([draft.message for draft, _ in chosen], add)
        if builder.refused:
            return True  # What was a duplicate of it may have to be stored.
        pack = await asyncio.to_thread(builder.built)
        try:
            with step("put", metrics_archive.PUT_SECONDS.labels("packs")):
                await self._objects.put(manifest.key, pack.data, only_if_absent=True)
        except Conflict:
            return await self._take_over(manifest, [draft for draft, _ in chosen])
        # True from here: the object is durable, and its manifest tells of it.
        metrics_archive.STORED_BYTES.labels("packs").inc(pack.written.size_bytes)
        return await self._record(manifest, pack, [draft for draft, _ in chosen])

    async def _record(self, manifest: Manifest, pack: Pack, drafts: Sequence[Draft]) -> bool:
        texts = {row.uuid: each.text for each, row in zip(drafts, pack.rows, strict=True) if each.text}
        added = await self._rows.add_pack(manifest, pack.written, pack.rows, texts, new=True)
        # True from here: the rows are durable. Those that met another writer's are decided again.
        for draft, row in zip(drafts, pack.rows, strict=True):
            if row.uuid in added.uuids:
                draft.outcome = Outcome("stored", "", row.uuid, row.is_client_uuid, row.key)
            elif row.uuid in added.refused:
                draft.outcome = Outcome("refused", added.refused[row.uuid])
        if not added.uuids:
            await self._withdraw(manifest, pack.written)
        return len(added.uuids) == len(pack.rows)

    async def _take_over(self, manifest: Manifest, pending: Sequence[Draft]) -> bool:
        """Make rows of the pack under a manifest's key and finish it; False when nothing lies there.

        All of what it holds gets its row, also messages that are not in hand or not in the log any more.
        """
        try:
            download = await self._objects.get(manifest.key)
        except NotFound:
            return False
        rows: list[Row] = []
        size_bytes, crc32 = 0, 0
        try:
            async for offset, document in documents(download):
                rows.append(found_row(document, manifest.key, manifest.bucket, offset))
                size_bytes, crc32 = size_bytes + len(document), zlib.crc32(document, crc32)
        except Damaged as error:
            log.warning("a pack is not used, its object is damaged", key=manifest.key, reason=str(error))
            await self._rows.finish(manifest, Written(0, size_bytes, crc32))
            return True
        log.info("pack taken over", key=manifest.key, messages=len(rows))
        written = Written(len(rows), size_bytes, crc32)
        texts = {draft.uuid: draft.text for draft in pending if draft.text is not None}
        added = await self._rows.add_pack(manifest, written, rows, texts, new=False)
        _settle_found(pending, [row for row in rows if row.uuid in added.uuids])
        if not added.uuids:
            await self._withdraw(manifest, written)
        return True

    async def _withdraw(self, manifest: Manifest, written: Written) -> None:
        """Remove a pack of which no row was stored: others stored its messages. One in use stays."""
        if await self._rows.is_used(manifest.key):
            await self._rows.finish(manifest, written)
            return
        await self._objects.delete(manifest.key)
        # True from here: the object is gone, and the unfinished manifest says that it may be.
        await self._rows.remove(manifest)


def _settle_found(drafts: Iterable[Draft], rows: Iterable[Row]) -> None:
    """Give those drafts their outcome whose message lies in a pack that was taken over."""
    found = {(row.kafka_offset, row.timestamp): row for row in rows}
    for draft in drafts:
        row = found.get((draft.message.offset, draft.message.timestamp_ms))
        if row is not None and row.sha256 == draft.sha256:
            draft.outcome = Outcome("stored", "", row.uuid, row.is_client_uuid, row.key)


def _offset(draft: Draft) -> int:
    return draft.message.offset or 0


def _part(drafts: Sequence[Draft]) -> Stretch:
    first, last = _place(drafts[0]), _place(drafts[-1])
    return Stretch(first.cluster, first.topic, first.partition, first.offset, last.offset)


def _place(draft: Draft) -> Place:
    if draft.place is None:
        raise ValueError("only messages that stood in a log are packed")
    return draft.place
