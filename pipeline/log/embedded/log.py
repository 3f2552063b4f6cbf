"""The embedded log: durable topics in a folder, written by one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from pipeline import limits
from pipeline.clock import Clock, SystemClock
from pipeline.errors import BadInput
from pipeline.log.appended import counted
from pipeline.log.embedded import engine as engines
from pipeline.log.embedded.contents import Commit
from pipeline.log.embedded.disk import Disk
from pipeline.log.embedded.engine import Engine
from pipeline.log.embedded.frame import Rows
from pipeline.log.embedded.partition import Partition
from pipeline.log.embedded.reader import EmbeddedReader
from pipeline.log.embedded.request import AlterTopics, Append, CommitOffsets, CreateTopics
from pipeline.log.embedded.writer import closed
from pipeline.log.port import Bounds, Fetched, NewRecord, Placed, TopicPartition, TopicSpec
from pipeline.log.record_size import check_size
from pipeline.log.topic_config import check_spec, differs


class EmbeddedLog:
    """A handle on the log in a folder; implements `pipeline.log.port.Log`.

    All handles of one folder in this process work on the same open log, which closes with the last of
    them; each handle is opened and closed on its own, and closing it again does nothing. Safe to use
    from several event loops, each with its own handle or a common one.

    Args:
        folder: Where the log lives; made when it is not there.
        clock: Gives records their time and says what has expired. That of the first handle counts.
        disk: Stands between the log and the file system; for tests.
        entropy: Gives random bytes.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        *,
        disk: Disk | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._entropy = entropy
        self._engine: Engine | None = None

    async def open(self) -> None:
        """Take the folder, repair what a crash left and start; nothing happens when it is open.

        Raises:
            Conflict: Another process has the folder; its number is in the message.
            Damaged: The folder holds something that is not what was written.
            StorageFull: There is no room to start.
            Unavailable: The disk does not answer.
        """
        if self._engine is None:
            self._engine = await asyncio.to_thread(
                engines.acquire, self._folder, self._clock, self._disk, self._entropy
            )

    async def close(self) -> None:
        """Finish what was appended and let go; safe to repeat. Waiting reads raise `Unavailable`."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.shield(asyncio.to_thread(engines.release, engine))

    @property
    def _open(self) -> Engine:
        if self._engine is None:
            raise closed()
        return self._engine

    # --- topics ---

    async def create_topics(self, specs: Sequence[TopicSpec], *, alter: bool = False) -> list[str]:
        """Create the topics that do not exist and return their names; with `alter`, change those that do.

        Raises:
            BadInput: A name, a number of partitions or a setting is not allowed; nothing is changed.
            Conflict: One to alter has more partitions than its spec; nothing is changed.
        """
        for spec in specs:
            check_spec(spec)
        engine = self._open
        there = await self.describe_topics([spec.name for spec in specs])
        altered = [
            spec for spec in specs if alter and spec.name in there and differs(spec, there[spec.name])
        ]
        if altered:
            await engine.perform(AlterTopics(altered))
        missing = [spec for spec in specs if spec.name not in there]
        if not missing:
            return []
        request = CreateTopics(missing)
        await engine.perform(request)
        return await request.future

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicSpec]:
        """Return those of the topics that exist as they are; an embedded log keeps no replicas."""
        topics = self._open.contents.topics
        return {
            name: TopicSpec(name, len(topics[name].partitions), 0, topics[name].config)
            for name in names
            if name in topics
        }

    async def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic, by name."""
        return {name: len(topic.partitions) for name, topic in self._open.contents.topics.items()}

    # --- records ---

    @counted
    async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records and return their places, in the order given, once all of them are durable.

        Up to `LOG_GROUP_BYTES` become durable together or not at all.

        Raises:
            TooLarge: One is above `RECORD_MAX_BYTES`; nothing is written.
            BadInput: The name of a header is no UTF-8, or a record has no key and its topic is compacted;
                nothing is written.
            NotFound: There is no such topic or partition; nothing is written.
            StorageFull: The disk is full. Later appends work again when it is not.
            Unavailable: The disk does not take it.
        """
        engine = self._open
        requests = self._prepare(engine, records)
        if len(requests) == 1:
            await engine.perform(requests[0])
        elif requests:
            await asyncio.gather(*(engine.perform(request) for request in requests))
        return [place for request in requests for place in request.future.result()]

    def _prepare(self, engine: Engine, records: Sequence[NewRecord]) -> list[Append]:
        """Check all records, then encode them into requests of bounded size."""
        now_ms = int(self._clock.unix() * 1000)
        turns: dict[str, int] = {}
        placed = [(_place(engine, record, turns), record, check_size(record)) for record in records]
        requests: list[Append] = []
        newest: dict[Partition, int] = {}
        for partition, record, size_bytes in placed:
            if not requests or requests[-1].size_bytes + size_bytes > limits.LOG_GROUP_BYTES:
                requests.append(Append())
                newest = {}
            request = requests[-1]
            index = newest.get(partition)
            if index is None or request.rows[index][1].size_bytes + size_bytes > limits.LOG_FRAME_BYTES:
                index = newest[partition] = len(request.rows)
                request.rows.append((partition, Rows()))
            rows = request.rows[index][1]
            time_ms = now_ms if record.timestamp_ms is None else record.timestamp_ms
            request.slots.append((index, rows.count))
            rows.add(record.key, record.value, record.headers, time_ms)
            request.size_bytes += size_bytes
        return requests

    async def bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return the readable range of each partition; raises `NotFound`."""
        contents = self._open.contents
        return {TopicPartition(*place): contents.partition(place).bounds() for place in partitions}

    def reader(self, positions: Mapping[TopicPartition, int]) -> EmbeddedReader:
        """Return a reader that starts at the given offsets; raises `NotFound`."""
        engine = self._open
        for place in positions:
            engine.contents.partition(place)
        return EmbeddedReader(engine, positions)

    async def fetch(
        self,
        place: TopicPartition,
        offset: int,
        *,
        max_records: int,
        max_bytes: int = limits.LOG_READ_MAX_BYTES,
    ) -> Fetched:
        """Return records from an offset on, without waiting for any to come.

        Raises:
            NotFound: There is no such partition.
            Damaged: What is on disk is not what was written.
        """
        return await self._open.fetch(TopicPartition(*place), offset, max_records, max_bytes)

    async def wait_for_records(
        self, positions: Mapping[TopicPartition, int], timeout_seconds: float
    ) -> bool:
        """Wait until a partition holds a durable record at or after its position; False on time-out.

        Raises:
            NotFound: There is no such partition.
            Unavailable: The log was closed.
        """
        return await self._open.wait(positions, timeout_seconds)

    # --- consumer groups ---

    async def commit(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Store the next offset to read for a consumer group; durable when it returns.

        Raises:
            NotFound: There is no such partition; nothing is stored.
        """
        engine = self._open
        for place in positions:
            engine.contents.partition(place)
        if positions:
            offsets = tuple((place[0], place[1], offset) for place, offset in positions.items())
            await engine.perform(CommitOffsets(Commit(group, offsets)))

    async def committed(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets of a consumer group; what it never committed is left out."""
        return self._open.contents.committed(group, [TopicPartition(*place) for place in partitions])

    # --- care ---

    async def tidy(self) -> None:
        """Apply retention and compaction now instead of within `LOG_TIDY_SECONDS`."""
        await self._open.tidy()


def shared(folder: Path, clock: Clock | None = None) -> EmbeddedLog:
    """Return a handle on the log in `folder`; all handles of a folder in this process share one log."""
    return EmbeddedLog(folder, clock)


def _place(engine: Engine, record: NewRecord, turns: dict[str, int]) -> Partition:
    topic = engine.contents.topic(record.topic)
    if record.key is None:
        if topic.settings.compact:
            raise BadInput(
                f"append to topic {topic.name}",
                "the record has no key and the topic keeps the newest record of each key",
                "give it a key",
            )
        if record.partition is None and topic.name not in turns:
            turns[topic.name] = topic.next_turn()
    return engine.contents.partition_of(record, turns.get(topic.name, 0))
