"""The connection for everything that may be asked twice: topics, what they hold, and offsets of groups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, errors
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest

from pipeline import limits, outside
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka.failures import check_code, translated
from pipeline.log.kafka.fetched import records_in
from pipeline.log.kafka.starting import finish, finish_consumer, start
from pipeline.log.port import Bounds, Fetched, TopicPartition, TopicSpec

T = TypeVar("T")
_GROUP_COORDINATOR = 0
_NO_WAIT_MS = 0
_ANY_BYTES = 1
_UNCOMMITTED = 0
"""Isolation level, in Kafka's numbers: records of transactions are read as any others."""
_NO_MEMBER = ""
_SET_ON_TOPIC = 1
"""Where a value of a topic's configuration comes from, in Kafka's numbers: not a default of the brokers."""
_MOVED = (errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError)
_NOBODY = (None, -1)
_ELSEWHERE = (errors.NotLeaderForPartitionError.errno, errors.LeaderNotAvailableError.errno)
_LOST = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.StaleMetadata,
)


class Client:
    """Calls to Kafka that may be made twice without harm; each is bounded in time and tries.

    Connections are made at first use and made anew when they cannot be used any more, so it works again
    after the brokers were away, however long.

    Commits are sent as those of a consumer without membership. aiokafka offers that only through a
    consumer for each group; with hundreds of groups (one a plugin) that is as many connections, so the
    request is made here.
    """

    def __init__(self, connection: KafkaConnection, timeout_seconds: float) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds
        self._lock = asyncio.Lock()
        self._open: dict[type[Any], Any] = {}
        self._coordinators: dict[str, int] = {}

    async def close(self) -> None:
        """End the connections; safe to repeat."""
        async with self._lock:
            parts, self._open = list(self._open.values()), {}
            self._coordinators.clear()
        for part in parts:
            await finish(_end_of(part))

    # --- topics ---

    async def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic but Kafka's own."""

        async def ask() -> dict[str, int]:
            client = await self._part(AIOKafkaClient, "bootstrap")
            cluster = await client.fetch_all_metadata()
            names = cluster.topics(exclude_internal_topics=True)
            return {name: len(cluster.partitions_for_topic(name) or ()) for name in names}

        return await self._call("list topics", ask)

    async def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create topics; return the names of those that did not exist."""
        new = [
            NewTopic(
                spec.name,
                spec.partitions,
                spec.replicas,
                topic_configs={"max.message.bytes": str(limits.KAFKA_MESSAGE_MAX_BYTES), **spec.config},
            )
            for spec in specs
        ]
        created: list[str] = []

        async def ask() -> None:
            admin = await self._part(AIOKafkaAdminClient, "start")
            answer = await admin.create_topics(new, timeout_ms=int(self._timeout_seconds * 1000))
            for name, code, *message in answer.topic_errors:
                if code == errors.TopicAlreadyExistsError.errno:
                    continue
                with translated(f"create topic {name}"):
                    _check_topic(code, message)
                created.append(name)

        await self._call("create topics", ask)
        return created

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicSpec]:
        """Return those of the topics that exist; config is what was set on the topic itself."""

        async def ask() -> dict[str, TopicSpec]:
            admin = await self._part(AIOKafkaAdminClient, "start")
            # All are asked for: to name one that does not exist could make the brokers create it.
            every = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
            there = [name for name in names if every.get(name)]
            configs = await _configs(admin, there)
            return {
                name: TopicSpec(name, len(every[name]), len(every[name][0]["replicas"]), configs[name])
                for name in there
            }

        return await self._call("describe topics", ask)

    async def configure_topics(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """Replace everything that is set on each topic. Raises `BadInput` when Kafka refuses one."""
        if not configs:
            return
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, config) for name, config in configs.items()
        ]

        async def ask() -> None:
            admin = await self._part(AIOKafkaAdminClient, "start")
            for answer in await admin.alter_configs(resources):
                for code, message, _, name in answer.resources:
                    with translated(f"configure topic {name}"):
                        _check_topic(code, [message])

        await self._call("configure topics", ask)

    async def grow_topics(self, partitions: Mapping[str, int]) -> None:
        """Give each topic so many partitions, unless it has them already."""

        async def ask() -> None:
            admin = await self._part(AIOKafkaAdminClient, "start")
            for name, count in partitions.items():
                with translated(f"add partitions to topic {name}"):
                    try:
                        await admin.create_partitions({name: NewPartitions(count)})
                    except errors.InvalidPartitionsError:
                        # Said too when another process was first, or an answer was lost.
                        if (await self.topics()).get(name) != count:
                            raise

        await self._call("grow topics", ask)

    async def bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return the readable range of partitions that exist."""
        places = [KafkaPartition(*place) for place in partitions]

        async def ask() -> dict[TopicPartition, Bounds]:
            consumer = await self._part(AIOKafkaConsumer, "start")
            starts = await consumer.beginning_offsets(places)
            # The end is asked for last: a range never seems to end before it starts.
            ends = await consumer.end_offsets(places)
            return {TopicPartition(*place): Bounds(starts[place], ends[place]) for place in places}

        return await self._call("bounds", ask) if places else {}

    async def fetch(self, place: TopicPartition, offset: int, max_bytes: int) -> Fetched | None:
        """Return records of a partition that exists, from an offset on; None when that is outside of it."""
        there = KafkaPartition(*place)
        wanted = [(place.topic, [(place.partition, offset, max_bytes)])]
        request = FetchRequest(_NO_WAIT_MS, _ANY_BYTES, max_bytes, _UNCOMMITTED, wanted)

        async def ask() -> Fetched | None:
            client = await self._part(AIOKafkaClient, "bootstrap")
            answer = await client.send(await _leader(client, there), request)
            ((_, ((_, code, *_, message_set),)),) = answer.topics
            if code in _ELSEWHERE:
                client.force_metadata_update()
            if code == errors.OffsetOutOfRangeError.errno:
                return None
            check_code(code)
            return records_in(message_set, place, offset)

        return await self._call("fetch", ask, of=f"{place.topic}[{place.partition}] at {offset}")

    # --- groups ---

    async def commit(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Store offsets of a group that has no running members."""
        topics: dict[str, list[tuple[int, int, str]]] = {}
        for place, offset in positions.items():
            topics.setdefault(place[0], []).append((place[1], offset, ""))
        request = OffsetCommitRequest(
            group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            _NO_MEMBER,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(topics.items()),
        )

        async def ask() -> None:
            answer = await self._ask_coordinator(group, request)
            for _, rows in answer.topics:
                for _, code in rows:
                    check_code(code)

        await self._call("commit", ask, of=f"of group {group}")

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets of a group; what it never committed is left out."""
        topics: dict[str, list[int]] = {}
        for topic, number in partitions:
            topics.setdefault(topic, []).append(number)
        request = OffsetFetchRequest(group, list(topics.items()))

        async def ask() -> dict[TopicPartition, int]:
            answer = await self._ask_coordinator(group, request)
            check_code(getattr(answer, "error_code", 0))
            found = {}
            for topic, rows in answer.topics:
                for number, offset, _, code in rows:
                    check_code(code)
                    if offset >= 0:
                        found[TopicPartition(topic, number)] = offset
            return found

        return await self._call("committed", ask, of=f"of group {group}") if topics else {}

    async def _ask_coordinator(self, group: str, request: Any) -> Any:
        client = await self._part(AIOKafkaClient, "bootstrap")
        node = self._coordinators.get(group)
        if node is None:
            node = await client.coordinator_lookup(_GROUP_COORDINATOR, group)
            self._coordinators[group] = node
        return await client.send(node, request)

    # --- connections ---

    async def check(self) -> None:
        """Return when Kafka answers."""
        await self.topics()

    async def _call(self, name: str, ask: Callable[[], Awaitable[T]], *, of: str = "") -> T:
        async def attempt() -> T:
            with translated(f"{name} {of}".strip()):
                try:
                    return await ask()
                except _LOST:
                    await self.close()
                    raise
                except _MOVED:
                    self._coordinators.clear()
                    raise

        return await outside.call(
            "log",
            name,
            attempt,
            timeout_seconds=self._timeout_seconds,
            attempts=limits.KAFKA_CALL_ATTEMPTS,
        )

    async def _part(self, kind: type[Any], begin: str) -> Any:
        """Return the connected object of a class of aiokafka, connecting it at first use."""
        async with self._lock:
            part = self._open.get(kind)
            if part is None:
                part = kind(
                    **client_arguments(self._connection),
                    # Below our own limit, so that aiokafka says what it waited for.
                    request_timeout_ms=int(self._timeout_seconds * 900),
                )
                self._open[kind] = await start(part, getattr(part, begin), _end_of(part))
            return part


async def _leader(client: Any, place: KafkaPartition) -> int:
    """Return the node that has a partition."""
    node = client.cluster.leader_for_partition(place)
    if node in _NOBODY:
        await client.add_topic(place.topic)
        node = client.cluster.leader_for_partition(place)
    if node in _NOBODY:
        client.force_metadata_update()
        raise errors.LeaderNotAvailableError(f"partition {place.partition} of topic {place.topic}")
    return int(node)


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what was set on each topic, apart from the defaults."""
    configs: dict[str, dict[str, str]] = {name: {} for name in names}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for answer in await admin.describe_configs(resources) if resources else ():
        for code, _, _, name, entries in answer.resources:
            check_code(code)
            configs[name] = {key: value for key, value, _, origin, *_ in entries if origin == _SET_ON_TOPIC}
    return configs


def _end_of(part: Any) -> Callable[[], Awaitable[None]]:
    consumer = isinstance(part, AIOKafkaConsumer)
    end: Callable[[], Awaitable[None]] = partial(finish_consumer, part) if consumer else part.close
    return end


def _check_topic(code: int, message: Sequence[Any]) -> None:
    if code:
        raise errors.for_code(code)(*(text for text in message if text))
