"""The archive's work in one process: its topics of the moment, and the app that reads them.

Faust cannot change the topics of a running agent. When they change, everything taken settles and is
committed, the app ends, and another with the new topics goes on at the committed offsets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from agents.app import Address, RunEnded, run_app
from agents.archive import NAME, attach, media_types, park_refused
from pipeline import limits_archive, metrics
from pipeline.app import Parts, archive_of
from pipeline.archive.annotations import MediaTypes
from pipeline.archive.attendant import Attendant
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.source.policies import make_policy
from pipeline.archive.source.policy import TopicPolicy
from pipeline.archive.source.topic_set import TopicSet
from pipeline.archive.storing.drafting import FindsTexts
from pipeline.archive.storing.keeper import Keeper, PackSize, Park, layout_of
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.tries import Tries
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.text.text import Texts
from pipeline.archive_source import make_source
from pipeline.errors import HeadraceError
from pipeline.identify.pool import ParserPool
from pipeline.log.lag import lag
from pipeline.log.port import TopicPartition

log = structlog.get_logger(__name__)


class Archiving:
    """The archive's work in one process: its topics, looked up on a timer, and the app that reads them.

    Args:
        parts: Opened parts.
        pool: Tells the types of payloads that are no JSON.
        attendant: Looks on; what it raises ends the run.
    """

    def __init__(self, parts: Parts, pool: ParserPool, attendant: Attendant | None = None) -> None:
        self._parts = parts
        self._pool = pool
        self._attendant = None if attendant is None else _Watched(attendant, self._end_with)
        self._failure: Exception | None = None
        self._current: dict[str, int] = {}
        """The topics of the app that runs, with their partitions."""
        self._changed = asyncio.Event()
        self._policy = make_policy(parts.settings, parts.clock)
        self.source = make_source(parts)
        self.topics = TopicSet(
            self.source.log,
            self._policy,
            parts.settings.archive,
            parts.clock,
            named=self.source.topics,
            usual=(self.source.usual,),
        )

    async def run(self, stop: asyncio.Event, pages: Address | None) -> None:
        """Archive until `stop` is set.

        Raises:
            RunEnded: The attendant raised.
            HeadraceError: The source or the policy does not answer, or the app crashed; running again goes
                on at what was not acknowledged.
        """
        looking = asyncio.create_task(self._keep_looking(), name="look for topics to archive")
        try:
            while not (stop.is_set() or self._failure):
                await self._until_changed(stop, looking, pages)
        finally:
            looking.cancel()
            await asyncio.wait([looking])
        if self._failure is not None:
            raise RunEnded from self._failure

    async def close(self) -> None:
        """Let go of the source."""
        await self.source.close()

    async def backlog(self) -> int:
        """Count the records of topics to archive that the archive has not finished, over all workers.

        Raises:
            Unavailable: The source does not answer, or the policy never did.
        """
        await self.source.open()
        counts = await (self.topics.refresh() if self.topics.age_seconds is None else self.topics.look())
        places = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
        return sum((await lag(self.source.log, self.source.group, places)).values())

    def trouble(self) -> str | None:
        """Say in one sentence why messages are not being archived; None when they are."""
        age_seconds = self.topics.age_seconds
        if age_seconds is None:
            return "the archive has not learned yet which topics to archive"
        patience_seconds = max(
            limits_archive.ARCHIVE_STALE_SECONDS,
            limits_archive.ARCHIVE_LOOKS_MISSED * self._parts.settings.archive.refresh_seconds,
        )
        if age_seconds > patience_seconds:
            return f"the archive last looked for topics {age_seconds:.0f} s ago"
        oldest_seconds = metrics.REGISTRY.get_sample_value("headrace_archive_oldest_unacknowledged_seconds")
        if oldest_seconds and oldest_seconds > limits_archive.ARCHIVE_STALE_SECONDS:
            return f"the archive has had a message in hand for {oldest_seconds:.0f} s"
        return None

    # --- topics ---

    async def _keep_looking(self) -> None:
        """Look for topics at once and then on the timer; only the first look may fail."""
        await self.source.open()
        await self._look()
        while True:
            await self._parts.clock.sleep(self._parts.settings.archive.refresh_seconds)
            try:
                await self._look()
            except HeadraceError as error:
                log.warning("the archive goes on with the topics it has", reason=str(error))

    async def _look(self) -> None:
        if await self.topics.refresh() != self._current:
            self._changed.set()

    # --- the app ---

    async def _until_changed(
        self, stop: asyncio.Event, looking: asyncio.Task[None], pages: Address | None
    ) -> None:
        """Archive the topics of the moment until they change, or the run ends."""
        self._changed.clear()
        ends = asyncio.Event()
        watching = asyncio.create_task(_set_at_first(ends, stop.wait(), self._changed.wait(), looking))
        try:
            self._current = dict(self.topics.topics)
            if self._current:
                await self._archive(self._current, ends, pages)
            else:
                await ends.wait()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        if looking.done():
            looking.result()

    async def _archive(
        self, current: Mapping[str, int], ends: asyncio.Event, pages: Address | None
    ) -> None:
        keeper = make_keeper(
            self._parts,
            media_types=partial(media_types, self._pool),
            policy=self._policy,
            attendant=self._attendant,
            park=partial(park_refused, self._parts),
            texts=Texts.chosen(self._policy, self._pool.texts, self._parts.settings.archive),
        )
        log.info("archiving", topics=len(current), group=self.source.group)
        try:
            await run_app(
                self._parts,
                NAME,
                partial(attach, topics=list(current), keeper=keeper, parts=self._parts),
                ends,
                where=self.source.where,
                group=self.source.group,
                partitions=max(current.values()),
                pages=pages,
                before_end=partial(self._settle, keeper),
                # Nothing is created where messages come from.
                topic_allow_declare=False,
            )
        finally:
            await keeper.close()

    async def _settle(self, keeper: Keeper) -> None:
        """Let what was taken become durable and be acknowledged; what takes too long comes again."""
        if self._failure is not None:
            return
        try:
            async with asyncio.timeout(limits_archive.ARCHIVE_DRAIN_SECONDS):
                await keeper.drain()
        except TimeoutError:
            log.warning("messages in flight were not stored in time and come again", agent=NAME)
        except HeadraceError as error:
            log.warning("messages in flight come again", agent=NAME, reason=str(error))

    def _end_with(self, failure: Exception) -> None:
        """End the run for good."""
        self._failure = self._failure or failure
        self._changed.set()


class _Watched:
    """An attendant whose first error is told, however those who called it go on."""

    def __init__(self, attendant: Attendant, failed: Callable[[Exception], None]) -> None:
        self._attendant = attendant
        self._failed = failed

    def wanted(self, message: Message) -> bool:
        """Ask the attendant."""
        try:
            return self._attendant.wanted(message)
        except Exception as error:
            self._failed(error)
            raise

    async def settled(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        """Show the attendant what is durable."""
        try:
            await self._attendant.settled(messages, outcomes)
        except Exception as error:
            self._failed(error)
            raise


async def _set_at_first(event: asyncio.Event, *awaited: Awaitable[object]) -> None:
    """Set an event as soon as one of the others is done."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        event.set()
    finally:
        for task, given in zip(tasks, awaited, strict=True):
            if task is not given:
                task.cancel()


def make_keeper(
    parts: Parts,
    *,
    media_types: MediaTypes,
    policy: TopicPolicy,
    park: Park,
    attendant: Attendant | None = None,
    texts: FindsTexts | None = None,
) -> Keeper:
    """Make the keeper the settings `archive` describe."""
    settings, archive = parts.settings.archive, archive_of(parts)
    alone = ArchiveWriter.chosen(archive, settings, policy, media_types=media_types, texts=texts)
    return Keeper(
        alone,
        PackWriter(alone, pack_bytes=settings.pack_bytes, cluster=archive.cluster),
        layout=lambda topic: layout_of(topic, settings.layouts, settings.layout),
        clock=parts.clock,
        park=park,
        attendant=attendant,
        policy=policy,
        pack=PackSize(settings.pack_records, settings.pack_bytes, settings.pack_seconds),
        concurrency=settings.concurrency,
        test_messages=settings.test_messages,
        retry_limit=settings.retry_limit,
        tries=Tries(parts.settings.data_folder / "archive-tries.json") if settings.retry_limit else None,
    )
