"""One consumer's place in everything it reads.

All requests of a consumer key share its cursor: each event goes to one of them. What could not be
delivered is given back and goes out first the next time. Contract: dispatcher section 11.3; where it
loses what was on its way, we do not: positions move on when an answer is out.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

import structlog

from pipeline import limits
from pipeline.hub.counts import READ
from pipeline.hub.fetch.feeds import Feeds
from pipeline.hub.fetch.lane import HISTORIC, RETRY, Lane
from pipeline.hub.fetch.taking import Sieve, Taken, take
from pipeline.log.port import Log, TopicPartition

_log = structlog.get_logger(__name__)


class Begin(Enum):
    """Where a cursor begins."""

    STORED = auto()
    """Where it was; a new consumer at the ends of live topics, at the start of historic ones."""
    ANEW = auto()
    """As a new consumer."""
    AT_END = auto()
    """At the end of everything, historic topics too."""


class Cursor:
    """The lanes of a consumer key, and what came back. Open it before use.

    Args:
        log: Where positions are committed.
        feeds: What it reads from.
        lanes: Highest priority first.
    """

    def __init__(self, log: Log, feeds: Feeds, lanes: Iterable[Lane]) -> None:
        self.turn = asyncio.Lock()
        """To be held while taking."""
        self.lanes = tuple(lanes)
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.leaving = False
        """Requests are to be answered with what there is."""
        self._closed = False
        self._log = log
        self._feeds = feeds
        self._returned: deque[Taken] = deque()
        self._waiting: set[asyncio.Event] = set()
        self._committing: asyncio.Task[None] | None = None
        self._topics_seen = -1

    async def open(self, begin: Begin) -> None:
        """Take its place; durable when it returns.

        Raises:
            Unavailable: The log does not answer.
        """
        self._returned.clear()
        for lane in self.lanes:
            await self._place(lane, begin)
        self._topics_seen = self._feeds.topics_version
        await self._commit()

    async def reopen(self, begin: Begin) -> None:
        """Take its place anew, once nobody takes events. Raises `Unavailable`."""
        async with self.turn:
            await self.open(begin)

    @property
    def takes_tasks(self) -> bool:
        """Whether it reads what comes back to its consumer."""
        return any(lane.name == RETRY for lane in self.lanes)

    async def widen(self, lanes: Collection[Lane]) -> None:
        """Read also those of the lanes that it does not read yet, each from where it was; then durable.

        Raises:
            Unavailable: The log does not answer.
        """
        read = {lane.name: lane for lane in self.lanes}
        new = [lane for lane in lanes if lane.name not in read]
        if not new:
            return
        async with self.turn:
            for lane in new:
                await self._place(lane, Begin.STORED)
            self.lanes = tuple(read.get(lane.name, lane) for lane in lanes)
        await self._commit()

    async def close(self) -> None:
        """Commit its positions once its requests are answered; what takes longer counts as not received."""
        try:
            async with asyncio.timeout(limits.HUB_LET_GO_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("answers are still under way", requests=self._requests)
        self.touch()
        self._closed = True
        if self._committing is not None:
            await asyncio.wait([self._committing])

    @property
    def places(self) -> list[TopicPartition]:
        """The partitions it reads."""
        return [place for lane in self.lanes for place in lane.next]

    async def _place(self, lane: Lane, begin: Begin) -> None:
        places = await self._feeds.places(lane.reads)
        bounds = await self._feeds.follow(places)
        stored = {} if begin is Begin.ANEW else await self._log.committed(lane.group, places)
        lane.committed = dict(stored)
        lane.clear()
        for place, there in bounds.items():
            # What has no position while others have is a topic that came after the consumer.
            from_start = lane.name == HISTORIC or bool(stored)
            position = stored.get(place, there.start if from_start else there.end)
            if position > there.end:
                where = f"{place.topic}[{place.partition}]"
                _log.warning("a topic was made anew: read from its start", place=where, group=lane.group)
                position = there.start
            lane.next[place] = there.end if begin is Begin.AT_END else position

    async def extend(self) -> None:
        """Read topics that are new since it was opened, from their start, and no more those that are gone.

        Raises:
            Unavailable: The log does not answer.
        """
        await self._feeds.look_for_topics()
        if self._topics_seen == self._feeds.topics_version:
            return
        async with self.turn:
            seen = self._feeds.topics_version
            for lane in self.lanes:
                await self._extend(lane, await self._feeds.places(lane.reads))
            self._topics_seen = seen

    async def _extend(self, lane: Lane, places: Collection[TopicPartition]) -> None:
        new = [place for place in places if place not in lane.next]
        starts = await self._feeds.follow(new) if new else {}
        gone = [place for place in lane.next if place not in places]
        for place in gone:
            del lane.next[place]
        lane.next.update({place: there.start for place, there in starts.items()})
        for news in self._waiting:
            self._feeds.unlisten(gone, news)
            self._feeds.listen(new, news)
            news.set()

    # --- taking ---

    @contextmanager
    def request(self) -> Iterator[None]:
        """Note that a request is under way; when it ends, what was answered is committed."""
        self._requests += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._idle.set()
            self.touch()

    @contextmanager
    def news(self) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever there may be more to take."""
        news = asyncio.Event()
        self._waiting.add(news)
        self._feeds.listen(self.places, news)
        try:
            yield news
        finally:
            self._waiting.discard(news)
            self._feeds.unlisten(self.places, news)

    async def take(self, sieve: Sieve, wanted: int, removed: Counter[str], until: float) -> list[Taken]:
        """Take up to `wanted` events that are there; fewer only when there are no more, or at `until`.

        Args:
            sieve: What holds events back; its counts are added to `removed`.
            wanted: How many, at most.
            removed: Events held back, by reason.
            until: When to stop, in the event loop's time; one chunk is looked at in any case.

        Raises:
            Unavailable: The log does not answer; what was taken is given back.
        """
        loop = asyncio.get_running_loop()
        taken = self._take_returned(sieve, wanted, removed)
        size_bytes = sum(len(each.value) for each in taken)
        try:
            while len(taken) < wanted and size_bytes <= limits.HUB_ANSWER_BYTES:
                more = await self._step(sieve, wanted - len(taken), removed)
                if more is None:
                    break
                taken += more
                size_bytes += sum(len(each.value) for each in more)
                if loop.time() >= until:
                    break
        except BaseException:
            self.give_back(taken)
            raise
        return taken

    def give_back(self, taken: Iterable[Taken]) -> None:
        """Take back events that did not reach their client; they go out first, to requests that wait too.

        Not what was taken before the cursor was placed anew: where it is now says what is to come.
        """
        self._returned.extendleft(reversed([each for each in taken if each.span.out]))
        for news in self._waiting:
            news.set()

    def _take_returned(self, sieve: Sieve, wanted: int, removed: Counter[str]) -> list[Taken]:
        taken: list[Taken] = []
        passed_over: list[Taken] = []
        size_bytes = 0
        while self._returned and len(taken) < wanted and size_bytes <= limits.HUB_ANSWER_BYTES:
            back = self._returned.popleft()
            if back.span.lane.name == RETRY and not sieve.tasks:
                passed_over.append(back)
            elif (reason := sieve.reason(back)) is None:
                taken.append(back)
                size_bytes += len(back.value)
            else:
                removed[reason] += 1
                back.span.answered()
        self._returned.extendleft(reversed(passed_over))
        return taken

    async def _step(self, sieve: Sieve, wanted: int, removed: Counter[str]) -> list[Taken] | None:
        """Look at one chunk of the first lane that has something; None when none has."""
        for lane in self.lanes:
            if lane.name == RETRY and not sieve.tasks:
                continue
            for place in lane.rotation():
                position = lane.next[place]
                if position < self._feeds.end(place):
                    sieve.watch.start()
                    chunk = await self._feeds.chunk(place, position)
                    sieve.watch.lap(READ)
                    return take(lane, chunk, sieve, wanted, removed)
        return None

    # --- committing ---

    def touch(self) -> None:
        """Have the positions committed, soon; many touches become one commit."""
        if not self._closed and (self._committing is None or self._committing.done()):
            self._committing = asyncio.create_task(self._commit(), name="commit a consumer's positions")
            self._committing.add_done_callback(_heard)

    async def settled(self) -> None:
        """Return when what was answered before is committed: a crash repeats no more than one answer.

        Raises:
            Unavailable: The log does not answer.
        """
        if self._committing is None:
            return
        if self._committing.done() and (self._committing.cancelled() or self._committing.exception()):
            self.touch()  # the log may answer again
        await asyncio.shield(self._committing)

    async def _commit(self) -> None:
        while due := [(lane, positions) for lane in self.lanes if (positions := lane.due())]:
            for lane, positions in due:
                await self._log.commit(lane.group, positions)
                lane.committed.update(positions)


def _heard(task: asyncio.Task[None]) -> None:
    """Say why positions were not committed; whoever needs them committed meets the error as well."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("positions of a consumer are not committed", reason=str(error))
