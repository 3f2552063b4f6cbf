"""Handing events to consumers: one request after another, from the consumer's cursor.

An answer holds events that are durable on the log, tasks among them tracked before they leave. What an
answer held counts as received when the request's block ends well; otherwise it goes out again. Contract:
dispatcher sections 10 to 14.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.hub import steps
from pipeline.hub.counts import METADATA, UPGRADE, Stopwatch, count_consumed, failing
from pipeline.hub.deleted import Deleted
from pipeline.hub.fetch.chunk import Chunk, Index
from pipeline.hub.fetch.cursor import Begin, Cursor
from pipeline.hub.fetch.feeds import Feeds
from pipeline.hub.fetch.filters import DEPTH_MAX, DEPTH_MAX_TASK, Filter
from pipeline.hub.fetch.gates import Gate
from pipeline.hub.fetch.handing import Worker, as_given, as_tasks
from pipeline.hub.fetch.lane import Lane, lanes_of
from pipeline.hub.fetch.taking import Sieve, Taken
from pipeline.hub.notices import Notices
from pipeline.hub.wanted import Wanted
from pipeline.log.port import Log, NewRecord
from pipeline.metrics_hub import CONSUME_ERRORS

log = structlog.get_logger(__name__)


@dataclass
class Fetched:
    """What one request receives."""

    events: list[bytes] = field(default_factory=list)
    """JSON of the current version, in order."""
    removed: Counter[str] = field(default_factory=Counter)
    """Events held back, by step and reason."""
    not_ready: tuple[str, ...] = ()
    """Subscriptions that read no topic."""
    paused: bool = False
    moved: bool = False
    """Its consumer is not served here any more: another process may have more."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """What it took."""

    @property
    def ready(self) -> bool:
        """Every subscription reads something."""
        return not self.not_ready and not self.paused


class HandOut:
    """All cursors of this process.

    Args:
        log: An open log.
        prefix: Of the topics.
        feeds: What the cursors read from.
        notices: Consumers and pauses.
        deleted: What was deleted, followed.
        clock: Tells times of tasks and pauses.
        can_read: Says whether who may read up to a marking may read another.
        gates: What events have to pass besides the consumer's filter, in order.
        min_wait_seconds: How long an answer that has something waits for more.
    """

    def __init__(
        self,
        log: Log,
        *,
        prefix: str,
        feeds: Feeds,
        notices: Notices,
        deleted: Deleted,
        clock: Clock,
        can_read: Callable[[str, str], bool],
        gates: Sequence[Gate],
        min_wait_seconds: float,
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._feeds = feeds
        self._notices = notices
        self._deleted = deleted
        self._clock = clock
        self._can_read = can_read
        self._gates = gates
        self._min_wait_seconds = min_wait_seconds
        self._cursors: dict[str, Cursor] = {}
        self._term = 0
        """Grows whenever everything is let go: what an earlier one opens is of no use."""
        self._opening: dict[str, asyncio.Lock] = {}
        self._filters: dict[object, Filter] = {}
        self._burying: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def close(self) -> None:
        """Commit all positions and stop reading; requests that wait are answered. Safe to repeat."""
        self._closed = True
        await self.let_go()
        await self._feeds.close()
        for gate in self._gates:
            await gate.close()
        await asyncio.gather(*self._burying, return_exceptions=True)

    async def let_go(self) -> None:
        """Answer the requests that wait and commit all positions, so that another process may go on.

        What is not answered in time goes out again there. Safe to repeat.
        """
        self._term += 1
        cursors, self._cursors = self._cursors, {}
        for cursor in cursors.values():
            cursor.leaving = True
        self._feeds.wake()
        await asyncio.gather(self._opened(), *(cursor.close() for cursor in cursors.values()))

    async def _opened(self) -> None:
        """Wait until no cursor is being opened: opening one may commit where it begins."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.HUB_LET_GO_SECONDS):
                for opening in list(self._opening.values()):
                    async with opening:
                        pass

    async def tidy(self) -> None:
        """Stop reading for consumers that have not asked for long; their positions stay.

        Raises:
            Unavailable: The log does not answer.
        """
        await self._notices.forget_old()
        for key in [key for key in self._cursors if self._notices.consumer(key) is None]:
            await self._cursors.pop(key).close()
            self._opening.pop(key, None)
        if not any(lock.locked() for lock in self._opening.values()):
            self._feeds.keep_only({place for cursor in self._cursors.values() for place in cursor.places})

    @asynccontextmanager
    async def fetch(self, wanted: Wanted, gone: Callable[[], bool]) -> AsyncIterator[Fetched]:
        """Give what a consumer receives; leave the block normally when it has reached the client.

        Args:
            wanted: The request.
            gone: Says whether the client has left.

        Raises:
            TooLarge: There are too many consumers.
            Unavailable: The log does not answer.
        """
        deadline, term = asyncio.get_running_loop().time() + wanted.deadline, self._term
        await self._notices.ready()
        with failing(CONSUME_ERRORS, steps.DELETED):
            await self._deleted.ready()
        if wanted.is_task and self._since_pause() < limits.HUB_PAUSED_SECONDS:
            yield Fetched(paused=True)
            return
        cursor = await self._cursor(wanted, term)
        if cursor is None or cursor.leaving:
            yield Fetched(not_ready=wanted.consumer.subscriptions, moved=True)
            return
        fetched = Fetched(not_ready=tuple(lane.name for lane in cursor.lanes if not lane.next))
        taken: list[Taken] = []
        with cursor.request():
            try:
                taken += await self._collect(cursor, wanted, fetched, deadline, gone)
                await cursor.settled()
                fetched.moved = cursor.leaving
                fetched.events = await self._given(wanted, taken, fetched.watch)
                count_consumed(fetched.watch)
                yield fetched
            except BaseException:
                cursor.give_back(taken)
                raise
            try:
                # Told before positions move on: a crash in between repeats events to gates that know them.
                await self._tell(self._gates, wanted, taken)
            finally:
                for each in taken:
                    each.span.answered()

    def _since_pause(self) -> float:
        return self._clock.unix() - self._notices.paused_unix

    # --- the cursor ---

    async def _cursor(self, wanted: Wanted, term: int) -> Cursor | None:
        """Return the cursor of a consumer key where this request reads on; None when the term is over."""
        key = wanted.consumer.key
        await self._notices.make_room(key)
        async with self._opening.setdefault(key, asyncio.Lock()):
            if self._closed or term != self._term:
                return None
            begin = self._begin(wanted)
            cursor = self._cursors.get(key)
            skipped = self._notices.paused_unix if begin is Begin.AT_END else None
            if cursor is None:
                cursor = Cursor(self._log, self._feeds, self._lanes(wanted))
                await cursor.open(begin)
                if self._closed or term != self._term:
                    return None
                self._cursors[key] = cursor
            else:
                if wanted.is_task and not cursor.takes_tasks:
                    await cursor.widen(self._lanes(wanted))
                await (cursor.extend() if begin is Begin.STORED else cursor.reopen(begin))
            await self._notices.register(wanted, pause_skipped=skipped)
        return cursor

    def _lanes(self, wanted: Wanted) -> list[Lane]:
        return lanes_of(self._prefix, wanted.consumer, tasks=wanted.is_task)

    def _begin(self, wanted: Wanted) -> Begin:
        if wanted.is_task and self._since_pause() < limits.HUB_SKIPPING_SECONDS:
            known = self._notices.consumer(wanted.consumer.key)
            if known is None or known.pause_skipped != self._notices.paused_unix:
                return Begin.AT_END
        return Begin.ANEW if wanted.reset else Begin.STORED

    # --- collecting ---

    async def _collect(
        self,
        cursor: Cursor,
        wanted: Wanted,
        fetched: Fetched,
        deadline: float,
        gone: Callable[[], bool],
    ) -> list[Taken]:
        """Take events until there are enough, or the time has come to answer with what there is."""
        time = asyncio.get_running_loop().time
        taken: list[Taken] = []
        try:
            with cursor.news() as news:
                while not gone():
                    news.clear()
                    until = time() + limits.HUB_PASS_SECONDS
                    if wanted.deadline:
                        until = min(until, deadline)
                    missing = wanted.count - len(taken)
                    async with cursor.turn:
                        sieve = self._sieve(wanted, fetched.watch)
                        more = await cursor.take(sieve, missing, fetched.removed, until)
                    taken += await self._accepted(cursor, wanted, more, fetched)
                    if taken:
                        deadline = min(deadline, time() + self._min_wait_seconds)
                    size_bytes = sum(len(each.value) for each in taken)
                    if (
                        len(taken) >= wanted.count
                        or size_bytes > limits.HUB_ANSWER_BYTES
                        or time() >= deadline
                        or cursor.leaving
                    ):
                        break
                    if len(more) < missing and time() < until:
                        await _wait(news, deadline)
        except BaseException:
            cursor.give_back(taken)
            raise
        return taken

    def _sieve(self, wanted: Wanted, watch: Stopwatch) -> Sieve:
        return Sieve(
            rules=self._filter(wanted),
            now_unix=self._clock.unix(),
            deletions=self._deleted if wanted.model == "binary" else None,
            on_deleted=self._bury,
            consumer_key=wanted.consumer.key,
            plugin=wanted.name,
            version=wanted.version,
            tasks=wanted.is_task,
            watch=watch,
        )

    def _filter(self, wanted: Wanted) -> Filter:
        """Return the filter of a request, compiled once for all that judge alike."""
        rules = wanted.rules
        found = self._filters.get(rules)
        if found is None:
            if len(self._filters) >= limits.HUB_FILTERS_MAX:
                self._filters.clear()
            deepest = DEPTH_MAX_TASK if wanted.is_task else DEPTH_MAX
            self._filters[rules] = found = Filter(wanted, depth_max=deepest, can_read=self._can_read)
        return found

    async def _accepted(
        self, cursor: Cursor, wanted: Wanted, taken: list[Taken], fetched: Fetched
    ) -> list[Taken]:
        """Leave out what needs more than a glance to be held back.

        Raises:
            Unavailable: The log does not answer; all of them are given back.
        """
        passed, held = taken, []
        try:
            for place, gate in enumerate(self._gates):
                if not passed:
                    break
                fetched.watch.start()
                with failing(CONSUME_ERRORS, gate.step):
                    reasons = await gate.held(wanted, passed)
                fetched.watch.lap(gate.step)
                if not reasons:
                    continue
                held += [(passed[index], reason) for index, reason in reasons.items()]
                await self._tell(self._gates[:place], wanted, [passed[index] for index in reasons])
                passed = [each for index, each in enumerate(passed) if index not in reasons]
        except BaseException:
            cursor.give_back(taken)
            raise
        for each, reason in held:
            each.span.answered()
            fetched.removed.update([reason] if reason else ())
        return passed

    @staticmethod
    async def _tell(gates: Sequence[Gate], wanted: Wanted, done: Sequence[Taken]) -> None:
        for gate in gates if done else ():
            await gate.done(wanted, done)

    def _bury(self, chunk: Chunk, deleted: Iterable[Index]) -> None:
        """Put a tombstone over deleted events that are still on the log; they may come again otherwise."""
        place = chunk.place
        records = [
            NewRecord(place.topic, chunk.glances[index].kafka_key.encode(), None, partition=place.partition)
            for index in deleted
        ]
        burying = asyncio.create_task(self._log.append(records), name="bury deleted events")
        self._burying.add(burying)
        burying.add_done_callback(self._buried)

    def _buried(self, burying: asyncio.Task[Any]) -> None:
        self._burying.discard(burying)
        if not burying.cancelled() and (error := burying.exception()) is not None:
            log.warning("deleted events stay on the log", reason=str(error))

    # --- giving ---

    async def _given(self, wanted: Wanted, taken: Sequence[Taken], watch: Stopwatch) -> list[bytes]:
        """Return the events as the consumer receives them; tasks are durable when it returns."""
        watch.start()
        if wanted.model != "binary" or not wanted.is_task:
            events = as_given(wanted.model, taken)
            watch.lap(UPGRADE)
            return events
        worker = Worker(wanted.name, wanted.version, wanted.consumer.key)
        tasks = as_tasks(self._prefix, worker, taken, self._clock.unix())
        watch.lap(UPGRADE)
        if tasks.records:
            await self._log.append(tasks.records)
            watch.lap(METADATA)
        return tasks.events


async def _wait(news: asyncio.Event, deadline: float) -> None:
    """Return when there is news, or at the deadline in the event loop's time."""
    try:
        async with asyncio.timeout_at(deadline):
            await news.wait()
    except TimeoutError:
        pass
