"""Store messages: object first, then row, each under a key computed from the message.

`ArchiveWriter.store` may be stopped, killed or repeated at any point: an object without a row is found
again by its key and taken over, a row is never written before its object is durable, and no object is ever
written over (archive contract, sections 5 to 12). Trying again after a failure is the caller's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits
from pipeline.archive import dedupe, postgres, sqlite
from pipeline.archive.annotations import EMPTY, OCTET_STREAM, MediaTypes, media_type_of_headers
from pipeline.archive.draft import Draft, Prepared, Target, make_draft, prepare, recognise
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.rows import Row
from pipeline.clock import Clock
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Conflict, Damaged, ParserFailure, Unavailable
from pipeline.objects.port import ObjectStore

T = TypeVar("T")
log = structlog.get_logger(__name__)


class ArchiveWriter:
    """Stores batches of messages in an object store and a database, each message once.

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
        concurrency: int = limits.ARCHIVE_CONCURRENCY,
        object_max_bytes: int = limits.ARCHIVE_OBJECT_MAX_BYTES,
    ) -> None:
        self._objects = objects
        self._database = database
        self._clock = clock
        self._media_types = media_types
        self._target = Target(prefix, bucket, object_max_bytes)
        self._cluster = cluster
        self._rule = rule
        self._public = public
        self._concurrency = concurrency
        on_postgres = database.kind == "postgresql"
        self._ask = postgres.known if on_postgres else sqlite.known
        self._add = postgres.insert if on_postgres else sqlite.insert

    async def store(self, messages: Sequence[Message]) -> list[Outcome]:
        """Store messages and return what became of each, in the order given.

        When it returns, every message that is not refused has a durable object and a durable row. When it
        raises, some have; storing the same messages again settles the rest and changes nothing else.

        Raises:
            Unavailable: The object store or the database does not answer. StorageFull: One has no room.
            BadInput: The database refuses a value; store the messages one by one to find which.
        """
        now_ms = int(self._clock.unix() * 1000)
        drafts = await _compute(messages, lambda: [self._draft(message, now_ms) for message in messages])
        await self._name_media_types(drafts)
        for attempt in range(limits.ARCHIVE_SETTLE_ROUNDS):
            pending = [draft for draft in drafts if draft.outcome is None]
            if pending:
                await self._settle(pending, attempt)
        outcomes = [draft.outcome for draft in drafts if draft.outcome is not None]
        if len(outcomes) < len(drafts):
            raise Unavailable("store messages in the archive", "others keep storing the same identities")
        return outcomes

    def _draft(self, message: Message, now_ms: int) -> Draft:
        public = self._public(message.topic.removesuffix("+oversized"))
        return make_draft(message, cluster=self._cluster, public=public, ingest_time_ms=now_ms)

    async def _settle(self, pending: Sequence[Draft], attempt: int) -> None:
        """Take the drafts as far as they go; those left without an outcome are looked at again."""
        known = await self._known(pending, attempt)
        chosen = list(zip(pending, dedupe.choose(pending, known, self._rule), strict=True))
        fresh = [(draft, choice) for draft, choice in chosen if isinstance(choice, dedupe.Fresh)]
        drafts = [draft for draft, _ in fresh]
        messages = [draft.message for draft in drafts]
        prepared = await _compute(messages, lambda: [self._prepare(*each) for each in fresh])
        # On a refusal everything is decided again: what was its duplicate may have to be stored.
        ready = [each for each in prepared if each is not None]
        if len(ready) < len(fresh):
            return
        # True from here: some objects are durable without a row. Storing again takes them over.
        rows = await self._put_all(list(zip(drafts, ready, strict=True)))
        if len(rows) < len(fresh):
            return
        # True from here: every object is durable.
        added = await self._insert(rows)
        # True from here: the rows are durable. Those that met another writer's are decided again.
        for draft, row in zip(drafts, rows, strict=True):
            if row.uuid in added:
                draft.outcome = Outcome("stored", "", row.uuid, row.is_client_uuid, row.key)
        if len(added) == len(rows):
            _settle_duplicates(chosen)

    async def _known(self, pending: Sequence[Draft], attempt: int) -> dedupe.Known:
        # Made-up uuids after the first are asked for only once something was in the way.
        wanted = dedupe.wanted(pending, attempts=limits.ARCHIVE_SETTLE_ROUNDS if attempt else 0)

        async def ask(connection: AsyncConnection) -> dedupe.Known:
            return await self._ask(connection, wanted, self._rule)

        return await self._database.read("find duplicates", ask)

    def _prepare(self, draft: Draft, choice: dedupe.Fresh) -> Prepared | None:
        try:
            return prepare(draft, choice, self._target)
        except BadInput as error:
            draft.outcome = Outcome("refused", str(error))
            return None

    async def _put_all(self, work: Sequence[tuple[Draft, Prepared]]) -> list[Row]:
        """Put the objects and return the rows to write: fewer than asked for when something was refused."""
        waiting = iter(work)

        async def worker() -> None:
            for draft, prepared in waiting:
                draft.held = await self._put(draft, prepared)

        await _together(worker() for _ in range(min(self._concurrency, len(work))))
        return [draft.held for draft, _ in work if draft.held is not None]

    async def _put(self, draft: Draft, prepared: Prepared) -> Row | None:
        row, encoded = prepared
        if encoded is None:
            return row
        small = encoded.size_bytes <= limits.CHUNK_BYTES
        source = encoded.joined() if small else encoded.chunks()
        try:
            await self._objects.put(row.key, source, only_if_absent=True)
        except Conflict:
            return await self._take_over(draft, row)
        except BadInput as error:
            draft.outcome = Outcome("refused", str(error))
            return None
        return row

    async def _take_over(self, draft: Draft, planned: Row) -> Row | None:
        """Use the object that lies under the key if it is this message, else leave it and its uuid."""
        download = await self._objects.get(planned.key)
        data = b"".join([chunk async for chunk in download])
        try:
            row = await _compute([draft.message], lambda: recognise(draft, planned, data))
            reason = "it is a different message"
        except Damaged as error:
            row, reason = None, str(error)
        if row is None:
            log.warning(
                "another uuid is used, an object lies under this one", key=planned.key, reason=reason
            )
            draft.taken.add(planned.uuid)
        return row

    async def _insert(self, rows: Sequence[Row]) -> set[UUID]:
        if not rows:
            return set()

        async def write(connection: AsyncConnection) -> set[UUID]:
            return await self._add(connection, rows)

        return await self._database.write("store rows", write)

    async def _name_media_types(self, drafts: Sequence[Draft]) -> None:
        asked = []
        for draft in drafts:
            named = media_type_of_headers(draft.message.headers)
            draft.media_type = named or EMPTY
            if named is None and draft.message.payload:
                asked.append(draft)
        blocks = [draft.message.payload[: limits.MEDIA_TYPE_BLOCK_BYTES] for draft in asked]
        for draft, told in zip(asked, await self._media_types_of(blocks), strict=True):
            draft.media_type = told

    async def _media_types_of(self, blocks: list[bytes]) -> Sequence[str]:
        if not blocks:
            return []
        try:
            return await self._media_types(blocks)
        except ParserFailure as error:
            if len(blocks) == 1:
                log.warning("media type not told", reason=str(error))
                return [OCTET_STREAM]
        # One block broke the parser: ask for each alone, so that only that one goes without.
        return [(await self._media_types_of([block]))[0] for block in blocks]


def _settle_duplicates(chosen: Iterable[tuple[Draft, dedupe.Choice]]) -> None:
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


async def _compute(messages: Sequence[Message], work: Callable[[], T]) -> T:
    """Run work over the bytes of messages, in a thread when it would hold up the event loop."""
    if sum(len(message.payload) for message in messages) <= limits.ARCHIVE_INLINE_BYTES:
        return work()
    return await asyncio.to_thread(work)


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines at once; the first failure stops the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
