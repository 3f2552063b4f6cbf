"""Lanes: records of one partition on their way to Kafka, many callers' in one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiokafka import errors

from pipeline import limits
from pipeline.errors import BadInput, HeadraceError, Unavailable
from pipeline.log.kafka.failures import translate
from pipeline.log.port import NewRecord, Placed, TopicPartition


class Delivery:
    """The records of one append; done when the last of them is, failed when the first of them is."""

    def __init__(self, records: Sequence[NewRecord]) -> None:
        self.records = records
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._places: list[Placed | None] = [None] * len(records)
        self._left = len(records)

    def place(self, indexes: Sequence[int], place: TopicPartition, first: int) -> None:
        """Note where records went: to a partition, from an offset on."""
        topic, partition = place
        for offset, index in enumerate(indexes, start=first):
            self._places[index] = Placed(topic, partition, offset)
        self._left -= len(indexes)
        if not self._left and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: HeadraceError) -> None:
        """Tell the caller that a record did not get there."""
        if not self.done.done():
            self.done.set_exception(error)

    def places(self) -> list[Placed]:
        """Return the places in order; only when done."""
        return [placed for placed in self._places if placed is not None]


class _Part(NamedTuple):
    """Records of a delivery, by their indexes in it."""

    delivery: Delivery
    indexes: Sequence[int]


class Lane:
    """Sends the records of one partition in order, one batch after another.

    While a batch is on its way what comes next is collected, so batches grow with the load. When one
    fails, everything that waits behind it fails with it: each would otherwise wait as long again.

    Args:
        place: The partition.
        producer: Gives the connected producer; raises `KafkaError`.
        broken: Told which producer failed and why; returns when nothing of this comes any more.
        now_ms: Gives the time for records that bring none.
        timeout_seconds: How long the delivery of a batch may take.
    """

    def __init__(
        self,
        place: TopicPartition,
        producer: Callable[[], Awaitable[Any]],
        broken: Callable[[Any, HeadraceError], Awaitable[None]],
        now_ms: Callable[[], int],
        timeout_seconds: float,
    ) -> None:
        self._place = place
        self._producer = producer
        self._broken = broken
        self._now_ms = now_ms
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[_Part] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, delivery: Delivery, indexes: Sequence[int]) -> None:
        """Queue records of a delivery, in order."""
        self._waiting.append(_Part(delivery, indexes))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"kafka lane {self._place}")

    async def close(self) -> None:
        """Send what waits; safe to repeat."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._send_batch()
        finally:
            self._task = None

    async def _send_batch(self) -> None:
        taken: list[_Part] = []
        producer = None
        try:
            producer = await self._producer()
            async with asyncio.timeout(self._timeout_seconds):
                base = await self._deliver(producer, taken)
        except HeadraceError as error:
            self._fail_with(taken, error)
        except (errors.KafkaError, OSError) as error:  # a time-out is an OSError
            ours = self._translate(taken, error)
            if producer is not None:
                # First nothing more may come of it, then the callers may try again.
                await self._broken(producer, ours)
            self._fail_with(taken, ours)
        else:
            for delivery, indexes in taken:
                delivery.place(indexes, self._place, base)
                base += len(indexes)

    async def _deliver(self, producer: Any, taken: list[_Part]) -> int:
        """Send one batch of what waits, noting in `taken` what is in it; return its first offset."""
        while self._place.partition not in await producer.partitions_for(self._place.topic):
            # The topic grew since the producer looked; aiokafka fails an assertion for such a partition.
            await producer.client.force_metadata_update()
            await asyncio.sleep(limits.CALL_BACKOFF_SECONDS / 4)
        builder = producer.create_batch()
        now_ms = self._now_ms()
        full = False
        while self._waiting and not full:
            delivery, indexes = self._waiting[0]
            added = _add(builder, self._waiting[0], now_ms)
            full = added < len(indexes)
            taken.append(_Part(delivery, indexes[:added]))
            self._waiting.popleft()
            if full:
                self._waiting.appendleft(_Part(delivery, indexes[added:]))
        builder.close()
        sent = await producer.send_batch(builder, self._place.topic, partition=self._place.partition)
        offset: int = (await sent).offset
        return offset

    def _translate(self, taken: Sequence[_Part], error: Exception) -> HeadraceError:
        tried = f"append to topic {self._place.topic}, partition {self._place.partition}"
        keyless = any(
            delivery.records[index].key is None for delivery, indexes in taken for index in indexes
        )
        if isinstance(error, errors.UnknownError) and keyless:
            # aiokafka does not know the code for it (87, INVALID_RECORD).
            return BadInput(tried, "refused", "a compacted topic needs a key in each record")
        if isinstance(error, TimeoutError):
            why = f"no answer within {self._timeout_seconds:g} s"
            return Unavailable(tried, why, "see whether the brokers are up and reachable")
        return translate(tried, error)

    def _fail_with(self, taken: Sequence[_Part], error: HeadraceError) -> None:
        waiting, self._waiting = self._waiting, deque()
        for delivery, _ in (*taken, *waiting):
            delivery.fail(error)


def _add(builder: Any, part: _Part, now_ms: int) -> int:
    """Put records into a batch until it is full; return how many are in it."""
    records = part.delivery.records
    for number, index in enumerate(part.indexes):
        record = records[index]
        added = builder.append(
            timestamp=now_ms if record.timestamp_ms is None else record.timestamp_ms,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )
        if added is None:
            return number
    return len(part.indexes)
