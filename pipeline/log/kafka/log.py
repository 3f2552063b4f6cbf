"""The log in Kafka: topics, records and group offsets through aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from pipeline import limits
from pipeline.clock import Clock, SystemClock
from pipeline.errors import HeadraceError, NotFound, Unavailable
from pipeline.log.appended import counted
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka.client import Client
from pipeline.log.kafka.lane import Delivery, Lane
from pipeline.log.kafka.reader import KafkaReader
from pipeline.log.kafka.starting import abandon, start
from pipeline.log.leftovers import Leftovers
from pipeline.log.partitioner import partition_for
from pipeline.log.port import Bounds, Fetched, NewRecord, Placed, TopicPartition, TopicSpec
from pipeline.log.record_size import check_size
from pipeline.log.room import Room
from pipeline.log.topic_config import check_spec, differs
from pipeline.log.transport.quiet import limit_logs


class KafkaLog:
    """A log in a Kafka cluster; implements `pipeline.log.port.Log`. Belongs to one event loop.

    Whatever fails because brokers are away works again with the same object when they are back. Records
    are written idempotently and acknowledged by all in-sync replicas.

    Args:
        connection: How to reach Kafka.
        clock: Gives records their time.
        timeout_seconds: Longest wait for one answer.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock | None = None,
        *,
        timeout_seconds: float = limits.LOG_CALL_TIMEOUT_SECONDS,
    ) -> None:
        self.connection = connection
        self._clock = clock or SystemClock()
        self._timeout_seconds = timeout_seconds
        self._client: Client | None = None
        self._producer: Any = None
        self._connecting = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._lanes: dict[TopicPartition, Lane] = {}
        self._room = Room(limits.LOG_PENDING_BYTES)
        self._readers: set[KafkaReader] = set()
        self._ending: dict[Any, asyncio.Task[None]] = {}
        self._topics: dict[str, int] = {}
        self._turn = 0
        self._leftovers = Leftovers(limits.LOG_LEFTOVER_BYTES)

    async def open(self) -> None:
        """Connect; nothing happens when it is open.

        Raises:
            Unavailable: Kafka does not answer, or does not let us in.
            SettingError: The connection's settings cannot be used.
        """
        async with self._opening:
            if self._client is None:
                self._client = await self._connect()

    async def _connect(self) -> Client:
        limit_logs()
        client = Client(self.connection, self._timeout_seconds)
        try:
            self._topics = await client.topics()
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """Finish what was appended, then end all connections; safe to repeat."""
        for lane in list(self._lanes.values()):
            await lane.close()
        for reader in list(self._readers):
            await reader.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)
        if self._ending:
            await asyncio.wait(list(self._ending.values()))
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self._lanes.clear()

    @property
    def _open(self) -> Client:
        if self._client is None:
            raise Unavailable("use the log", "it is not open", "open it first")
        return self._client

    # --- topics ---

    async def create_topics(self, specs: Sequence[TopicSpec], *, alter: bool = False) -> list[str]:
        """Create the topics that do not exist and return their names; with `alter`, change those that do.

        Raises:
            BadInput: Kafka refuses a name, a number or a setting; topics before it may have been changed.
            Conflict: One to alter has more partitions than its spec; nothing is changed.
        """
        for spec in specs:
            check_spec(spec)
        self._topics = await self._open.topics()
        missing = [spec for spec in specs if spec.name not in self._topics]
        altered = await self._alter(specs) if alter else {}
        created = await self._open.create_topics(missing) if missing else []
        await self._settle(dict.fromkeys((spec.name for spec in missing), 1) | altered)
        return created

    async def _alter(self, specs: Sequence[TopicSpec]) -> dict[str, int]:
        """Alter the topics that exist and differ; return how many partitions those that grow will have."""
        there = await self.describe_topics([spec.name for spec in specs])
        altered = [spec for spec in specs if spec.name in there and differs(spec, there[spec.name])]
        # Kafka replaces all that was set on a topic, so what the spec does not name is said again.
        configs = {spec.name: {**there[spec.name].config, **spec.config} for spec in altered}
        await self._open.configure_topics(
            {name: config for name, config in configs.items() if config != there[name].config}
        )
        grown = {
            spec.name: spec.partitions for spec in altered if spec.partitions > there[spec.name].partitions
        }
        await self._open.grow_topics(grown)
        return grown

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicSpec]:
        """Return those of the topics that exist as they are, each config with what was set on the topic."""
        return await self._open.describe_topics(names)

    async def _settle(self, partitions: Mapping[str, int]) -> None:
        """Wait until the brokers show new topics and partitions: they say yes before all of them know."""

        def hidden() -> list[str]:
            return [name for name, count in partitions.items() if self._topics.get(name, 0) < count]

        try:
            async with asyncio.timeout(self._timeout_seconds):
                while hidden():
                    self._topics = await self._open.topics()
                    await asyncio.sleep(limits.CALL_BACKOFF_SECONDS / 4)
        except TimeoutError:
            why = "the brokers took them and do not show them"
            raise Unavailable(f"create topics {', '.join(hidden())}", why, "try again") from None

    async def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic, by name."""
        self._topics = await self._open.topics()
        return dict(self._topics)

    async def _check(self, places: Collection[tuple[str, int]]) -> None:
        """Raise `NotFound` unless all partitions exist; brokers are asked about those not seen yet."""
        if any(partition >= self._topics.get(topic, 0) for topic, partition in places):
            self._topics = await self._open.topics()
        for topic, partition in places:
            partitions = self._topics.get(topic, 0)
            if not partitions:
                raise NotFound(f"find topic {topic}", "Kafka has no topic of that name", "create it first")
            if not 0 <= partition < partitions:
                raise NotFound(
                    f"find partition {partition} of topic {topic}",
                    f"it has partitions 0 to {partitions - 1}",
                )

    # --- records ---

    @counted
    async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records and return their places, in the order given, once all replicas in sync have them.

        Raises:
            TooLarge: One is above `RECORD_MAX_BYTES` (nothing is written), or above what its topic allows.
            NotFound: There is no such topic or partition; nothing is written.
            BadInput: The name of a header is no UTF-8 (nothing is written), or Kafka refuses a record, for
                one because it has no key and its topic is compacted.
            Unavailable: Kafka did not answer in time; some records may have been written.
        """
        if not records:
            return []
        size_bytes = sum([check_size(record) for record in records])
        await self._check({(record.topic, record.partition or 0) for record in records})
        client = self._open
        await self._room.enter(size_bytes)
        try:
            if self._client is not client:
                raise Unavailable("append to Kafka", "the log was closed")
            delivery = Delivery(records)
            for place, indexes in self._sort(records).items():
                self._lane(place).put(delivery, indexes)
            await delivery.done
        finally:
            self._room.leave(size_bytes)
        return delivery.places()

    def _sort(self, records: Sequence[NewRecord]) -> dict[TopicPartition, list[int]]:
        """Return the indexes of the records of each partition, choosing partitions as Kafka does."""
        self._turn += 1
        by_place: dict[tuple[str, int], list[int]] = {}
        for index, record in enumerate(records):
            number = record.partition
            if number is None:
                partitions = self._topics[record.topic]
                key = record.key
                number = self._turn % partitions if key is None else partition_for(key, partitions)
            by_place.setdefault((record.topic, number), []).append(index)
        return {TopicPartition(*place): indexes for place, indexes in by_place.items()}

    def _lane(self, place: TopicPartition) -> Lane:
        lane = self._lanes.get(place)
        if lane is None:
            lane = Lane(place, self._connected, self._drop, self._now_ms, self._timeout_seconds)
            self._lanes[place] = lane
        return lane

    def _now_ms(self) -> int:
        return int(self._clock.unix() * 1000)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._producer is None:
                # Batches keep the time they are given, so a record has the one of its append.
                producer = AIOKafkaProducer(
                    **client_arguments(self.connection),
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=limits.KAFKA_BATCH_BYTES,
                    max_request_size=limits.KAFKA_MESSAGE_MAX_BYTES,
                    request_timeout_ms=int(self._timeout_seconds * 1000),
                )
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        await start(producer, producer.start, lambda: _stop(producer))
                except TimeoutError as error:
                    raise errors.KafkaTimeoutError("no answer while connecting") from error
                self._producer = producer
            return self._producer

    async def _drop(self, broken: Any, reason: HeadraceError) -> None:
        """Give up a producer after a failure: its count of what it sent does not fit any more.

        When Kafka did not answer, this returns when nothing more comes from it; when Kafka refused a
        record, what others have under way on the old producer is let finish.
        """
        if self._producer is broken:
            self._producer = None
            end = abandon if isinstance(reason, Unavailable) else _stop
            self._ending[broken] = asyncio.create_task(end(broken))
            self._ending[broken].add_done_callback(lambda _: self._ending.pop(broken))
        if broken in self._ending and isinstance(reason, Unavailable):
            await asyncio.wait([self._ending[broken]])

    async def bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return the readable range of each partition; raises `NotFound`."""
        await self._check(partitions)
        return await self._open.bounds(partitions)

    async def fetch(
        self, place: TopicPartition, offset: int, *, max_records: int, max_bytes: int
    ) -> Fetched:
        """Return records of one partition from an offset on, without waiting for any to come.

        Raises:
            NotFound: There is no such partition.
            Damaged: A batch is not what was written.
        """
        place = TopicPartition(*place)
        kept = self._leftovers.take(place, offset, max_records)
        if kept is not None:
            return kept
        await self._check([place])
        found = await self._open.fetch(place, offset, max_bytes)
        if found is None:
            start = (await self._open.bounds([place]))[place].start
            found = await self._open.fetch(place, start, max_bytes) if offset < start else None
        return self._leftovers.split(place, found or Fetched([], offset), max_records)

    def reader(self, positions: Mapping[TopicPartition, int]) -> KafkaReader:
        """Return a reader that starts at the given offsets; its first read raises `NotFound`."""
        _ = self._open
        reader = KafkaReader(
            self.connection,
            positions,
            timeout_seconds=self._timeout_seconds,
            check=self._check,
            fetch=self.fetch,
            forget=self._readers.discard,
        )
        self._readers.add(reader)
        return reader

    # --- consumer groups ---

    async def commit(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Store the next offset to read for a consumer group; durable when it returns.

        Raises:
            NotFound: There is no such partition; nothing is stored.
            Conflict: The group has running members, which alone may commit.
        """
        await self._check(list(positions))
        if positions:
            await self._open.commit(group, positions)

    async def committed(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets of a consumer group; what it never committed is left out."""
        return await self._open.committed(group, partitions)


async def _stop(producer: Any) -> None:
    """End a producer; what it cannot deliver in time fails."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    if not stopping.done():
        await abandon(producer)
        await asyncio.wait([stopping], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    with suppress(errors.KafkaError, OSError):  # it is given up either way
        if stopping.done():
            stopping.result()
