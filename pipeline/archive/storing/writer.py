"""Store messages: object first, then row, each under a key computed from the message.

`ArchiveWriter.store` may be stopped, killed or repeated at any point: an object without a row is found
again by its key and taken over, a row is never written before its object is durable, and no object is ever
written over (archive contract, sections 5 to 12). Trying again after a failure is the caller's part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from pipeline import limits, limits_archive, metrics_archive
from pipeline.archive.annotations import MediaTypes
from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.rows import Row
from pipeline.archive.source.policy import TopicPolicy
from pipeline.archive.storing import dedupe
from pipeline.archive.storing.draft import Draft, Prepared, Target, prepare, recognise
from pipeline.archive.storing.drafting import Drafting, FindsTexts, computed
from pipeline.archive.storing.row_store import RowStore
from pipeline.archive.storing.slots import Slots, for_each
from pipeline.archive.storing.steps import step
from pipeline.clock import Clock
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Conflict, Damaged, Unavailable
from pipeline.objects.port import ObjectStore
from pipeline.settings import ArchiveSettings

log = structlog.get_logger(__name__)


class ArchiveWriter:
    """Stores messages in an object store and a database, each once, and in an object of its own.

    Any number of writers may work on the same archive, also on the same messages.

    Args:
        objects: Where the BSON objects go.
        database: Where the rows go.
        clock: Gives the time of ingest.
        media_types: Tells MIME types of payload starts; called with untrusted bytes.
        prefix: Put before every object key; empty in the layout upstream reads.
        bucket: What the rows name as the bucket of their objects.
        cluster: Label of the source in identities; needed when several clusters feed one archive.
        rule: ``exact`` loses nothing; ``upstream`` repeats what upstream's archive counts as duplicate.
        public: Says of a topic whether everybody may read its messages.
        texts: Finds what is searched of messages; None where nothing is.
        concurrency: Objects on their way to the store at once.
        object_max_bytes: Largest object; a larger message is refused.
    """

    def __init__(
        self,
        objects: ObjectStore,
        database: Database,
        *,
        clock: Clock,
        media_types: MediaTypes,
        prefix: str = "",
        bucket: str = "",
        cluster: str = "",
        rule: dedupe.Rule = "exact",
        public: Callable[[str], bool] = lambda _topic: True,
        texts: FindsTexts | None = None,
        concurrency: int = limits_archive.ARCHIVE_CONCURRENCY,
        object_max_bytes: int = limits_archive.ARCHIVE_OBJECT_MAX_BYTES,
    ) -> None:
        self.objects = objects
        self.rows = RowStore(database, rule)
        self.target = Target(prefix, bucket, object_max_bytes)
        self.rule = rule
        self._drafting = Drafting(
            clock=clock, media_types=media_types, cluster=cluster, public=public, texts=texts
        )
        self._concurrency = concurrency
        self._slots = Slots(concurrency)

    @classmethod
    def chosen(
        cls,
        archive: Archive,
        settings: ArchiveSettings,
        policy: TopicPolicy,
        *,
        media_types: MediaTypes,
        texts: FindsTexts | None,
        object_max_bytes: int | None = None,
    ) -> ArchiveWriter:
        """Store in an archive as the settings and the policy say, or larger objects than they do."""
        return cls(
            archive.objects,
            archive.database,
            clock=archive.clock,
            media_types=media_types,
            prefix=archive.prefix,
            bucket=archive.bucket,
            cluster=archive.cluster,
            rule=settings.dedupe,
            public=lambda topic: policy.rule(topic).publicly_readable,
            texts=texts,
            concurrency=settings.concurrency,
            object_max_bytes=object_max_bytes or settings.object_max_bytes,
        )

    async def store(self, messages: Sequence[Message]) -> list[Outcome]:
        """Store messages and return what became of each, in the order given.

        When it returns, every message that is not refused has a durable object and a durable row. When it
        raises, some have; storing the same messages again settles the rest and changes nothing else.

        Raises:
            Unavailable: The object store or the database does not answer. StorageFull: One has no room.
        """
        return await self.settle(await self.drafts(messages))

    async def drafts(self, messages: Sequence[Message]) -> list[Draft]:
        """Make the drafts `settle` takes. Raises `Unavailable` when no parser process can be started."""
        with step("describe"):
            return await self._drafting.drafts(messages)

    async def settle(self, drafts: Sequence[Draft]) -> list[Outcome]:
        """Store those drafts that have no outcome yet; returns and raises as `store`."""
        for attempt in range(limits_archive.ARCHIVE_SETTLE_ROUNDS):
            pending = [draft for draft in drafts if draft.outcome is None]
            if pending:
                await self._settle(pending, attempt)
        outcomes = [draft.outcome for draft in drafts if draft.outcome is not None]
        if len(outcomes) < len(drafts):
            raise Unavailable("store messages in the archive", "others keep storing the same identities")
        return outcomes

    async def _settle(self, pending: Sequence[Draft], attempt: int) -> None:
        """Take the drafts as far as they go; those left without an outcome are looked at again."""
        # Made-up uuids after the first are asked for only once something was in the way.
        attempts = limits_archive.ARCHIVE_SETTLE_ROUNDS if attempt else 0
        known = await self.rows.known(dedupe.wanted(pending, attempts=attempts))
        chosen = list(zip(pending, dedupe.choose(pending, known, self.rule), strict=True))
        fresh = [(draft, choice) for draft, choice in chosen if isinstance(choice, dedupe.Fresh)]
        drafts = [draft for draft, _ in fresh]
        messages = [draft.message for draft in drafts]
        prepared = await computed(messages, lambda: [self._prepare(*each) for each in fresh])
        # On a refusal everything is decided again: what was its duplicate may have to be stored.
        ready = [each for each in prepared if each is not None]
        if len(ready) < len(fresh):
            return
        # True from here: some objects are durable without a row. Storing again takes them over.
        rows = await self._put_all(list(zip(drafts, ready, strict=True)))
        if len(rows) < len(fresh):
            return
        # True from here: every object is durable.
        await self._insert(drafts, rows)
        # True from here: the rows are durable. Those that met another writer's are decided again.
        if all(draft.stored for draft in drafts):
            settle_duplicates(chosen)

    async def _insert(self, drafts: Sequence[Draft], rows: Sequence[Row]) -> None:
        texts = {
            row.uuid: draft.text for draft, row in zip(drafts, rows, strict=True) if draft.text is not None
        }
        added = await self.rows.add(rows, texts)
        for draft, row in zip(drafts, rows, strict=True):
            if row.uuid in added.uuids:
                draft.outcome = Outcome("stored", "", row.uuid, row.is_client_uuid, row.key)
            elif row.uuid in added.refused:
                draft.outcome = Outcome("refused", added.refused[row.uuid])

    def _prepare(self, draft: Draft, choice: dedupe.Fresh) -> Prepared | None:
        try:
            return prepare(draft, choice, self.target)
        except BadInput as error:
            draft.outcome = Outcome("refused", str(error))
            return None

    async def _put_all(self, work: Sequence[tuple[Draft, Prepared]]) -> list[Row]:
        """Put the objects and return the rows to write: fewer than asked for when something was refused."""

        async def put(each: tuple[Draft, Prepared]) -> None:
            draft, prepared = each
            draft.held = await self._put(draft, prepared)

        await for_each(work, put, min(self._concurrency, len(work)))
        return [draft.held for draft, _ in work if draft.held is not None]

    async def _put(self, draft: Draft, prepared: Prepared) -> Row | None:
        row, encoded = prepared
        if encoded is None:
            return row
        small = encoded.size_bytes <= limits.CHUNK_BYTES
        source = encoded.joined() if small else encoded.chunks()
        try:
            async with self._slots.one((row.topic, row.kafka_partition)):
                with step("put", metrics_archive.PUT_SECONDS.labels("objects")):
                    await self.objects.put(row.key, source, only_if_absent=True)
        except Conflict:
            return await self._take_over(draft, row)
        except BadInput as error:
            draft.outcome = Outcome("refused", str(error))
            return None
        metrics_archive.STORED_BYTES.labels("objects").inc(row.size)
        return row

    async def _take_over(self, draft: Draft, planned: Row) -> Row | None:
        """Use the object that lies under the key if it is this message, else leave it and its uuid."""
        download = await self.objects.get(planned.key)
        data = b"".join([chunk async for chunk in download])
        try:
            row = await computed([draft.message], lambda: recognise(draft, planned, data))
            reason = "it is a different message"
        except Damaged as error:
            row, reason = None, str(error)
        if row is None:
            log.warning(
                "another uuid is used, an object lies under this one", key=planned.key, reason=reason
            )
            draft.taken |= {planned.uuid}
        return row


def settle_duplicates(chosen: Iterable[tuple[Draft, dedupe.Choice]]) -> None:
    """Give the duplicates among drafts their outcome, and say so."""
    for draft, choice in chosen:
        if isinstance(choice, dedupe.Duplicate):
            draft.outcome = Outcome("duplicate", choice.reason)
            message = draft.message
            log.info(
                "Duplicate not stored",
                reason=choice.reason,
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                timestamp_ms=message.timestamp_ms,
            )
