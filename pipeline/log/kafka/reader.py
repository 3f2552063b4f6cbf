"""A reader of Kafka: a consumer of its own, without a group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, errors
from aiokafka import TopicPartition as KafkaPartition

from pipeline import limits
from pipeline.errors import Unavailable
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka.failures import translated
from pipeline.log.kafka.fetched import records_of
from pipeline.log.kafka.starting import finish_consumer, start
from pipeline.log.port import Fetched, Record, TopicPartition


class KafkaReader:
    """Positions in some partitions; implements `pipeline.log.port.Reader`. Connects at the first read.

    Args:
        connection: How to reach Kafka.
        positions: Where to start.
        timeout_seconds: How long Kafka may be silent before a read fails.
        check: Raises `NotFound` when a partition does not exist.
        fetch: Reads what aiokafka cannot, as `Log.fetch`.
        forget: Called when the reader is closed.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        positions: Mapping[TopicPartition, int],
        *,
        timeout_seconds: float,
        check: Callable[[list[TopicPartition]], Any],
        fetch: Callable[..., Awaitable[Fetched]],
        forget: Callable[[KafkaReader], None],
    ) -> None:
        self._connection = connection
        self._positions = {TopicPartition(*place): offset for place, offset in positions.items()}
        self._timeout_seconds = timeout_seconds
        self._check = check
        self._fetch = fetch
        self._forget = forget
        self._consumer: Any = None
        self._heard = 0.0
        self._closed = False

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be read of each partition."""
        positions = dict(self._positions)
        if self._consumer is not None:
            for place in positions:
                state = self._state(place)
                if state.has_valid_position:
                    positions[place] = state.position
        return positions

    def _state(self, place: TopicPartition) -> Any:
        # `position()` of aiokafka waits for the broker when there is none; this only looks.
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001
        return assignment.state_value(KafkaPartition(*place))

    async def read(self, *, max_records: int, wait_seconds: float) -> list[Record]:
        """Return the next records, waiting at most `wait_seconds` for the first one.

        Raises:
            NotFound: There is no such partition.
            Damaged: A batch is not what was written.
            Unavailable: Kafka did not answer for the whole time limit, or the reader is closed.
        """
        if self._closed:
            raise Unavailable("read from Kafka", "the reader is closed")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        with translated("read from Kafka"):
            consumer = await self._connected()
            while True:
                left_ms = max(int((deadline - loop.time()) * 1000), 0)
                records = await self._next(consumer, left_ms, max_records)
                if records:
                    self._heard = loop.time()
                    return records
                self._check_heard(loop.time())
                if not left_ms:
                    return []

    async def _next(self, consumer: Any, wait_ms: int, max_records: int) -> list[Record]:
        try:
            return self._take(await consumer.getmany(timeout_ms=wait_ms, max_records=max_records))
        except (errors.CorruptRecordException, UnicodeDecodeError):
            return await self._read_past(consumer, max_records)

    async def _read_past(self, consumer: Any, max_records: int) -> list[Record]:
        """Read what aiokafka cannot, as names of headers that are not UTF-8.

        All partitions begin anew: aiokafka lost what it had of others when it failed at one.
        """
        records: list[Record] = []
        for place, offset in self._positions.items():
            if len(records) < max_records:
                left = max_records - len(records)
                fetched = await self._fetch(
                    place, offset, max_records=left, max_bytes=limits.LOG_READ_MAX_BYTES
                )
                records += fetched.records
                self._positions[place] = fetched.next
            consumer.seek(KafkaPartition(*place), self._positions[place])
        return records

    def _take(self, found: Mapping[Any, list[ConsumerRecord[bytes, bytes]]]) -> list[Record]:
        records: list[Record] = []
        for place, batch in found.items():
            records += records_of(batch)
            self._positions[TopicPartition(*place)] = batch[-1].offset + 1
        return records

    def _check_heard(self, now: float) -> None:
        """Raise when no fetch of any partition was answered for the whole time limit."""
        for place in self._positions:
            answered_ms = self._state(place).timestamp
            if answered_ms != self._last_answers.get(place):
                self._last_answers[place] = answered_ms
                self._heard = now
        if now - self._heard > self._timeout_seconds:
            raise Unavailable(
                "read from Kafka",
                f"no answer for {self._timeout_seconds:g} s",
                "see whether the brokers are up and reachable",
            )

    async def _connected(self) -> Any:
        if self._consumer is not None:
            return self._consumer
        await self._check(list(self._positions))
        consumer = AIOKafkaConsumer(
            **client_arguments(self._connection),
            request_timeout_ms=int(self._timeout_seconds * 1000),
            enable_auto_commit=False,
            # A position that is not there any more moves to the start.
            auto_offset_reset="earliest",
            fetch_max_bytes=limits.LOG_READ_MAX_BYTES,
        )
        await start(consumer, consumer.start, partial(finish_consumer, consumer))
        if self._positions:
            consumer.assign([KafkaPartition(*place) for place in self._positions])
        for place, offset in self._positions.items():
            consumer.seek(KafkaPartition(*place), offset)
        self._consumer = consumer
        self._heard = asyncio.get_running_loop().time()
        self._last_answers: dict[TopicPartition, int | None] = {}
        return consumer

    async def close(self) -> None:
        """End the connection; safe to repeat."""
        self._closed = True
        self._forget(self)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await finish_consumer(consumer)
