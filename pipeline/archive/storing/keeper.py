"""The heart of the archive: takes batches of records, and acknowledges them when they are stored.

Many batches are in work at once, of as many partitions as come; each is stored message by message (layout
`objects`) or together with its neighbours (layout `packs`). Nothing is acknowledged before everything it
caused is durable; what can never be stored is parked first. What fails in passing is tried again, with
growing pauses, while other partitions go on. Sits between the agent, which hands over batches, and the two
writers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

import structlog

from pipeline import limits, limits_archive, metrics, metrics_archive
from pipeline.archive.attendant import Attendant
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.source.policy import TopicPolicy
from pipeline.archive.storing.keeper_work import Group, Lane, Lanes, Layout, Taken
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.slots import Slots
from pipeline.archive.storing.steps import step
from pipeline.archive.storing.tries import Tries
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import Clock
from pipeline.errors import Unavailable
from pipeline.log.port import Record, TopicPartition
from pipeline.log.transport.batch import Batch

Park = Callable[[list[tuple[Record, Outcome]]], Awaitable[None]]
"""Puts records aside that can never be stored; durable when it returns, and repeatable."""

log = structlog.get_logger(__name__)
_AGENT = "archive"


class StoresMessages(Protocol):
    """What both writers are to the keeper."""

    async def store(self, messages: Sequence[Message]) -> list[Outcome]:
        """Store messages of one partition; see `ArchiveWriter.store`."""


class PackSize(NamedTuple):
    """When a pack is closed: whichever comes first."""

    records: int = limits_archive.ARCHIVE_PACK_RECORDS
    size_bytes: int = limits_archive.ARCHIVE_PACK_BYTES
    seconds: float = limits_archive.ARCHIVE_PACK_SECONDS


class Keeper:
    """Stores what batches hold, many at once, and acknowledges each when everything of it is durable.

    A failure that cannot pass, and whatever the attendant raises, ends the keeper: the next `take` and
    `drain` raise it, and what was not acknowledged comes again, to another keeper.

    Args:
        alone: Stores each message in an object of its own.
        packs: Stores many messages in one object.
        layout: Says of a topic which of them does.
        clock: Measures the age of packs, and pauses.
        park: Puts records aside that can never be stored.
        attendant: Looks on.
        policy: Learns about a topic before its messages are stored.
        pack: When a pack is closed.
        concurrency: Groups of messages in work at once, where each gets an object of its own.
        test_messages: Whether messages marked as tests are kept.
        retry_limit: Tries of a message after which it is parked; 0 for trying as long as it takes.
        tries: Remembers how often messages were tried; needed with a limit.
    """

    def __init__(
        self,
        alone: ArchiveWriter,
        packs: PackWriter,
        *,
        layout: Callable[[str], Layout],
        clock: Clock,
        park: Park,
        attendant: Attendant | None = None,
        policy: TopicPolicy | None = None,
        pack: PackSize | None = None,
        concurrency: int = limits_archive.ARCHIVE_CONCURRENCY,
        test_messages: bool = False,
        retry_limit: int = 0,
        tries: Tries | None = None,
    ) -> None:
        self._writers: dict[Layout, StoresMessages] = {"objects": alone, "packs": packs}
        self._packs = packs
        self._layout = layout
        self._clock = clock
        self._park = park
        self._attendant = attendant
        self._policy = policy
        self._pack = pack or PackSize()
        self._slots = {"objects": Slots(concurrency), "packs": Slots(limits_archive.ARCHIVE_PACKS_AT_ONCE)}
        self._test_messages = test_messages
        self._retry_limit = retry_limit
        self._tries = tries
        self._lanes = Lanes(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self.failed: Callable[[Exception], None] = lambda _error: None
        """Told at once of the failure that ends the keeper: the next batch may be long in coming."""
        metrics_archive.OLDEST_SECONDS.set_function(self._lanes.oldest_seconds)

    # --- what the agent calls ---

    async def take(self, batch: Batch) -> None:
        """Take a batch; returns as soon as there is room for more. It is acknowledged later.

        Raises:
            HeadraceError or what the attendant raised: Something taken failed for good.
        """
        self._check()
        metrics_archive.RECEIVED.inc(len(batch.records))
        lane = self._lanes.lane(TopicPartition(batch.topic, batch.partition), self._layout(batch.topic))
        group = self._group(lane, batch)
        if not group.records:
            batch.acknowledge()
        elif lane.layout == "packs":
            self._collect(group)
        else:
            self._start(group)
        while self._failure is None and not self._lanes.room():
            fullest = self._lanes.fullest()
            if fullest is not None:
                self._close(fullest)
            await self._wait()
        self._check()

    async def drain(self) -> None:
        """Return when everything taken is settled and acknowledged; packs under way are closed at once.

        Raises:
            As `take`.
        """
        for lane in self._lanes:
            self._close(lane)
        while self._tasks and self._failure is None:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self._check()

    async def close(self) -> None:
        """Stop at once; what is not settled is not acknowledged and comes again. Safe to repeat."""
        tasks = [*self._tasks, *(lane.timer for lane in self._lanes if lane.timer is not None)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._lanes.clear()
        metrics_archive.OLDEST_SECONDS.set_function(lambda: 0.0)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _group(self, lane: Lane, batch: Batch) -> Group:
        """Make a group of what is to be stored of a batch."""
        records, messages = batch.records, [Message.of(record) for record in batch.records]
        wanted = [self._is_wanted(message) for message in messages]
        if not all(wanted):
            records = [record for record, keep in zip(records, wanted, strict=True) if keep]
            messages = [message for message, keep in zip(messages, wanted, strict=True) if keep]
            metrics_archive.PASSED_OVER.inc(len(wanted) - len(messages))
        group, taken = Group(lane), Taken(batch, len(messages))
        group.add(taken, records, messages)
        if messages:
            self._lanes.came(lane, taken, group.size_bytes)
        return group

    def _is_wanted(self, message: Message) -> bool:
        if message.is_test and not self._test_messages:
            return False
        return self._attendant is None or self._attendant.wanted(message)

    async def _wait(self) -> None:
        """Return when something was settled, or after a while: what stalls is told by time."""
        self._changed.clear()
        waits = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep(limits_archive.ARCHIVE_LOOK_SECONDS)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    # --- packs under way ---

    def _collect(self, group: Group) -> None:
        """Add a group to the pack of its partition, closing packs as they become full."""
        lane, ((taken, count),) = group.lane, group.shares
        if lane.collection is not None and not lane.collection.current:
            self._lanes.leave(self._take_out(lane))  # The partition was lost: those come again.
        start = 0
        while start < count:
            if lane.collection is None:
                lane.collection = Group(lane)
                due = self._clock.monotonic() + self._pack.seconds
                lane.timer = asyncio.create_task(self._close_at(lane, due), name="close a pack in time")
            end = self._fits(lane.collection, group, start)
            lane.collection.add(taken, group.records[start:end], group.messages[start:end])
            start = end
            if self._is_full(lane.collection):
                self._close(lane)

    def _fits(self, collection: Group, group: Group, start: int) -> int:
        """Say up to where the messages of a group go into a pack; the one that fills it goes in too."""
        end = min(len(group.messages), start + self._pack.records - len(collection.messages))
        if collection.size_bytes + group.size_bytes < self._pack.size_bytes:
            return end
        size_bytes = collection.size_bytes
        for n in range(start, end):
            size_bytes += len(group.messages[n].payload)
            if size_bytes >= self._pack.size_bytes:
                return n + 1
        return end

    def _is_full(self, collection: Group) -> bool:
        return (
            len(collection.records) >= self._pack.records or collection.size_bytes >= self._pack.size_bytes
        )

    async def _close_at(self, lane: Lane, due: float) -> None:
        await self._clock.sleep(due - self._clock.monotonic())
        lane.timer = None
        self._close(lane)

    def _close(self, lane: Lane) -> None:
        if lane.collection is not None:
            self._start(self._take_out(lane))

    def _take_out(self, lane: Lane) -> Group:
        group, lane.collection = lane.collection or Group(lane), None
        timer, lane.timer = lane.timer, None
        if timer is not None:
            timer.cancel()
        return group

    # --- storing ---

    def _start(self, group: Group) -> None:
        task = asyncio.create_task(self._work(group), name=f"archive {group.lane.place}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, group: Group) -> None:
        """Store a group, park what cannot be, and acknowledge."""
        self._lanes.begin(group)
        try:
            outcomes = await self._outcomes(group)
            if outcomes is not None:
                await self._conclude(group, outcomes)
        except Exception as error:  # noqa: BLE001 -- a bug too: the agent must learn of it
            if self._failure is None:
                self._failure = error
                self.failed(error)
        finally:
            self._lanes.end(group)
            self._changed.set()

    async def _outcomes(self, group: Group) -> list[Outcome] | None:
        """Store a group, as often as it takes; None when its partition was lost, and it with it."""
        lane, pause_seconds = group.lane, limits.CALL_BACKOFF_SECONDS
        while group.current:
            try:
                return await self._attempt(lane, group.messages)
            except Unavailable as error:
                reason = str(error)
            tries = await self._count_try(group)
            if self._retry_limit and tries >= self._retry_limit:
                return await self._last_attempt(lane, group.messages, tries)
            pause = round(pause_seconds * random.uniform(0.5, 1), 3)  # noqa: S311 -- jitter
            log.warning(
                "waiting",
                agent=_AGENT,
                topic=lane.place.topic,
                partition=lane.place.partition,
                reason=reason,
                again_in_seconds=pause,
            )
            lane.pausing += 1
            try:
                await self._clock.sleep(pause)
            finally:
                lane.pausing -= 1
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
        return None

    async def _attempt(self, lane: Lane, messages: Sequence[Message]) -> list[Outcome]:
        """Try once to store messages. Raises as `ArchiveWriter.store`."""
        async with self._slots[lane.layout].one(lane.place):
            if self._policy is not None:
                newest = max(message.timestamp_ms for message in messages)
                await self._policy.fresh_rule(lane.place.topic, newest)
            async with lane.looking:
                if not lane.looked:
                    await self._packs.finish_left(*lane.place)
                    lane.looked = True
            return await self._writers[lane.layout].store(messages)

    async def _last_attempt(self, lane: Lane, messages: Sequence[Message], tries: int) -> list[Outcome]:
        """Find out which of the messages is in the way, and store the others."""
        try:
            return await self._attempt(lane, messages)
        except Unavailable as error:
            if len(messages) == 1:
                return [Outcome("refused", f"given up after {tries} tries: {error}")]
        half = len(messages) // 2
        first = await self._last_attempt(lane, messages[:half], tries)
        return [*first, *await self._last_attempt(lane, messages[half:], tries)]

    async def _count_try(self, group: Group) -> int:
        if self._tries is None:
            return 0
        first, last = group.records[0].offset, group.records[-1].offset
        return await self._tries.failed(group.lane.place, first, last)

    async def _conclude(self, group: Group, outcomes: Sequence[Outcome]) -> None:
        """Do what comes between a durable outcome and its acknowledgement."""
        refused = [pair for pair in zip(group.records, outcomes, strict=True) if pair[1].refused]
        if refused:
            with step("park"):
                await self._park(refused)
            metrics_archive.PARKED.inc(len(refused))
        # True from here: every message is durable, in the archive or where it was parked.
        if self._attendant is not None:
            await self._attendant.settled(group.messages, outcomes)
        self._lanes.settle(group)
        stored = sum([outcome.stored for outcome in outcomes])
        metrics_archive.DUPLICATES.inc(len(outcomes) - len(refused) - stored)
        if stored:
            metrics_archive.STORED.labels(group.lane.layout).inc(stored)
            metrics_archive.LAST_STORED.set(self._clock.unix())
            metrics.AGENT_SENT.labels(_AGENT).inc(stored)
        if self._tries is not None:
            await self._tries.settled(group.lane.place, group.records[0].offset, group.records[-1].offset)


def layout_of(topic: str, layouts: Mapping[str, Layout], usual: Layout) -> Layout:
    """Say how the messages of a topic are stored: as the first glob that matches it says."""
    return next((layout for glob, layout in layouts.items() if fnmatchcase(topic, glob)), usual)
