"""The topics as the hub reads them: each partition read and decoded once, whoever wants it.

What is new is followed by one reader and handed to every consumer that waits; what is old is read when
somebody comes for it and kept while others follow close behind. Chunks begin at fixed offsets, so that
consumers at different places of a partition meet in the same ones.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import EventCorrupt, HeadraceError, Unavailable
from pipeline.events import times
from pipeline.events.models import Model
from pipeline.events.sources import SourceDefinition
from pipeline.events.topics import model_of_topic
from pipeline.hub.fetch.chunk import Chunk
from pipeline.hub.fetch.glance import Glance, Glances
from pipeline.log.port import Bounds, Log, Reader, Record, TopicPartition

_log = structlog.get_logger(__name__)
_FOLLOW_WAIT_SECONDS = 0.25
"""How long a newly followed partition may wait until its news is seen."""
_FOLLOW_RECORDS = 500


class Feed:
    """One partition: its newest chunk, which grows, and older ones as long as there is room.

    Args:
        place: The partition.
        end: Where the log ends now; what comes from there on is followed.
    """

    def __init__(self, place: TopicPartition, end: int) -> None:
        self.place = place
        self.model: Model = model_of_topic(place.topic)
        self.newest = Chunk(place, end)
        self.older: list[Chunk] = []
        """By where they start; they may overlap."""
        self.filling = asyncio.Lock()
        self.waiting: set[asyncio.Event] = set()

    @property
    def end(self) -> int:
        """Where what is known ends."""
        return self.newest.next

    def chunk_at(self, offset: int) -> Chunk | None:
        """Return a chunk that covers an offset below the end, None when it is to be read."""
        if offset >= self.newest.start:
            return self.newest
        return next((chunk for chunk in self.older if chunk.start <= offset < chunk.next), None)

    def start_of_chunk(self, offset: int) -> int:
        """Return where the chunk is to begin that covers an offset nobody has read."""
        start = offset - offset % limits.HUB_CHUNK_RECORDS
        return max([start, *(chunk.next for chunk in self.older if start < chunk.next <= offset)])

    def wake(self) -> None:
        """Tell everybody who waits that there is more."""
        for event in self.waiting:
            event.set()


class Feeds:
    """All partitions somebody reads.

    Args:
        log: An open log.
        sources: The configured ones, by name: they say when events age off.
        clock: Spaces the tries when the log does not answer.
        cache_bytes: Stored bytes of older events that are kept decoded.
    """

    def __init__(
        self, log: Log, *, sources: Mapping[str, SourceDefinition], clock: Clock, cache_bytes: int
    ) -> None:
        self._log = log
        self._clock = clock
        self._cache_bytes = cache_bytes
        self._expiry_seconds = {name: source.expiry_seconds for name, source in sources.items()}
        self._feeds: dict[TopicPartition, Feed] = {}
        self._kept: OrderedDict[Chunk, Feed] = OrderedDict()
        self._kept_bytes = 0
        self._glances = Glances()
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._topics: dict[str, int] = {}
        self._topics_read = float("-inf")
        self.topics_version = 0
        """Changes when there are other topics or partitions."""
        self._changed = False
        self._closed = False
        self._reading_ahead: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop reading, for good; safe to repeat."""
        self._closed = True
        task, self._task = self._task, None
        ending = [each for each in (task, *self._reading_ahead) if each is not None]
        for each in ending:
            each.cancel()
        if ending:
            await asyncio.wait(ending)

    def keep_only(self, places: AbstractSet[TopicPartition]) -> None:
        """Stop following all other partitions, unless somebody waits for one."""
        for place in [place for place, feed in self._feeds.items() if place not in places]:
            if not self._feeds[place].waiting:
                for chunk in self._feeds.pop(place).older:
                    self._kept_bytes -= chunk.size_bytes
                    del self._kept[chunk]
                self._changed = True

    async def places(self, wanted: Callable[[str], bool]) -> list[TopicPartition]:
        """Return the partitions of all topics with a wanted name, as `look_for_topics` knows them.

        Raises:
            Unavailable: The log does not answer.
        """
        await self.look_for_topics()
        return [
            TopicPartition(topic, number)
            for topic, count in sorted(self._topics.items())
            if wanted(topic)
            for number in range(count)
        ]

    async def look_for_topics(self) -> None:
        """Learn which topics there are, unless that was learned lately. Raises `Unavailable`."""
        now = self._clock.monotonic()
        if now - self._topics_read <= limits.HUB_TOPICS_SECONDS:
            return
        topics = await self._log.topics()
        self._topics_read = now
        if topics != self._topics:
            self._topics = topics
            self.topics_version += 1

    async def follow(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Follow partitions from where they end now, unless they are followed; return what they hold.

        Raises:
            Unavailable: The log does not answer.
        """
        places = list(places)
        async with self._opening:
            bounds = await self._log.bounds(places)
            for place, there in bounds.items():
                if place not in self._feeds:
                    self._feeds[place] = Feed(place, there.end)
                    self._changed = True
            if self._task is None and self._feeds and not self._closed:
                self._task = asyncio.create_task(self._follow(), name="hub follows the log")
        return bounds

    def end(self, place: TopicPartition) -> int:
        """Return where what is known of a followed partition ends."""
        return self._feeds[place].end

    def listen(self, places: Iterable[TopicPartition], news: asyncio.Event) -> None:
        """Have `news` set whenever one of the followed partitions grows."""
        for place in places:
            self._feeds[place].waiting.add(news)

    def unlisten(self, places: Iterable[TopicPartition], news: asyncio.Event) -> None:
        """Take `listen` back."""
        for place in places:
            self._feeds[place].waiting.discard(news)

    def wake(self) -> None:
        """Wake everybody who waits, though there is nothing new."""
        for feed in self._feeds.values():
            feed.wake()

    async def chunk(self, place: TopicPartition, offset: int) -> Chunk:
        """Return the chunk that covers an offset below the end of a followed partition.

        Raises:
            Unavailable: The log does not answer.
        """
        feed = self._feeds[place]
        chunk = feed.chunk_at(offset)
        if chunk is None:
            async with feed.filling:
                chunk = feed.chunk_at(offset)
                if chunk is None:
                    chunk = await self._fill_to(feed, offset)
        if chunk in self._kept:
            self._kept.move_to_end(chunk)
            self._read_ahead(feed, chunk)
        return chunk

    # --- what is old ---

    def _read_ahead(self, feed: Feed, chunk: Chunk) -> None:
        """Begin to read what follows an old chunk while that is handed out, when there is room for both."""
        room_bytes = self._cache_bytes - self._kept_bytes
        if (
            chunk.next < feed.newest.start
            and not feed.filling.locked()
            and room_bytes > limits.HUB_CHUNK_BYTES
            and feed.chunk_at(chunk.next) is None
        ):
            reading = asyncio.create_task(self._ahead(feed, chunk.next), name="hub reads ahead")
            self._reading_ahead.add(reading)
            reading.add_done_callback(self._reading_ahead.discard)

    async def _ahead(self, feed: Feed, offset: int) -> None:
        async with feed.filling:
            if feed.chunk_at(offset) is None:
                with suppress(HeadraceError):  # whoever comes for it meets the error
                    await self._fill(feed, feed.start_of_chunk(offset))

    async def _fill_to(self, feed: Feed, offset: int) -> Chunk:
        """Read the chunk that covers an offset, and those before it that are full with fewer records.

        None of them need be kept for the next one to be found: others may fill all the room meanwhile.
        """
        chunk = await self._fill(feed, feed.start_of_chunk(offset))
        while chunk.next <= offset:
            chunk = await self._fill(feed, chunk.next)
        return chunk

    async def _fill(self, feed: Feed, start: int) -> Chunk:
        """Read the chunk that begins at `start` and keep it; in a log with gaps it reaches further."""
        place, end = feed.place, feed.newest.start
        missing = limits.HUB_CHUNK_RECORDS - start % limits.HUB_CHUNK_RECORDS
        found = await self._log.fetch(
            place, start, max_records=min(missing, end - start), max_bytes=limits.HUB_CHUNK_BYTES
        )
        chunk = Chunk(place, start)
        # Not in a thread: it takes about 2 ms, for which two threads would only wait for each other.
        self._take(feed, chunk, [record for record in found.records if record.offset < end])
        chunk.next = min(found.next, end)
        if chunk.next == start:
            chunk.next = await self._passed_over(place, start, end)
        self._keep(feed, chunk)
        return chunk

    async def _passed_over(self, place: TopicPartition, start: int, end: int) -> int:
        """Return where to go on when nothing is there that should be. Raises `Unavailable`."""
        there = (await self._log.bounds([place]))[place]
        if there.end < end:
            where = f"{place.topic}[{place.partition}]"
            _log.warning("a topic was made anew: what was there is passed over", place=where)
            return end
        tried = f"read {place.topic}[{place.partition}] from {start} to {end}"
        raise Unavailable(tried, "the log gave nothing", "try again")

    def _keep(self, feed: Feed, chunk: Chunk) -> None:
        feed.older.append(chunk)
        feed.older.sort(key=lambda each: each.start)
        self._kept[chunk] = feed
        self._kept_bytes += chunk.size_bytes
        while self._kept_bytes > self._cache_bytes and len(self._kept) > 1:
            oldest, owner = self._kept.popitem(last=False)
            owner.older.remove(oldest)
            self._kept_bytes -= oldest.size_bytes

    def _take(self, feed: Feed, chunk: Chunk, records: Sequence[Record]) -> None:
        for record in records:
            if not record.value:
                continue
            try:
                glance = self._glances.at(feed.model, record.value)
                expires = self._expires(glance)
            except EventCorrupt as error:
                where = f"{record.topic}[{record.partition}] at {record.offset}"
                _log.debug("an event cannot be read", place=where, reason=str(error))
                continue
            chunk.append(record.offset, record.value, glance, record.headers, expires)

    def _expires(self, glance: Glance) -> float | None:
        seconds = self._expiry_seconds.get(glance.shape.source)
        return None if seconds is None else times.parse(glance.submitted).timestamp() + seconds

    # --- what is new ---

    async def _follow(self) -> None:
        pause_seconds = limits.CALL_BACKOFF_SECONDS
        while True:
            self._changed = False
            try:
                reader = self._log.reader(await self._there())
                try:
                    while not self._changed:
                        await self._read(reader)
                        pause_seconds = limits.CALL_BACKOFF_SECONDS
                finally:
                    await reader.close()
            except Unavailable as error:
                _log.warning("waiting for the log", reason=str(error))
                await self._clock.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
            except HeadraceError as error:
                _log.error("the log cannot be followed", reason=str(error))
                await self._clock.sleep(limits.CALL_BACKOFF_MAX_SECONDS)

    async def _there(self) -> dict[TopicPartition, int]:
        """Return where to read on; a topic that was removed must not keep the others from being read."""
        counts = await self._log.topics()
        return {
            place: feed.end
            for place, feed in self._feeds.items()
            if place.partition < counts.get(place.topic, 0)
        }

    async def _read(self, reader: Reader) -> None:
        records = await reader.read(max_records=_FOLLOW_RECORDS, wait_seconds=_FOLLOW_WAIT_SECONDS)
        by_place: dict[TopicPartition, list[Record]] = {}
        for record in records:
            by_place.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        for place, batch in by_place.items():
            feed = self._feeds.get(place)
            if feed is not None:
                self._grow(feed, batch)
                feed.wake()

    def _grow(self, feed: Feed, records: Sequence[Record]) -> None:
        """Add what came to the newest chunk, beginning a new one where one is full."""
        begin = 0
        for position, record in enumerate(records):
            newest = feed.newest
            full = record.offset // limits.HUB_CHUNK_RECORDS != newest.start // limits.HUB_CHUNK_RECORDS
            if full or newest.size_bytes > limits.HUB_CHUNK_BYTES:
                self._take(feed, newest, records[begin:position])
                begin = position
                newest.next = record.offset
                self._keep(feed, newest)
                feed.newest = Chunk(feed.place, record.offset)
        self._take(feed, feed.newest, records[begin:])
        feed.newest.next = records[-1].offset + 1
