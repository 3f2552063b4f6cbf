"""Sending through Faust to the embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from faust.exceptions import ProducerSendError
from faust.types import TP
from faust.types.tuples import RecordMetadata

from pipeline.log.embedded.log import EmbeddedLog, shared
from pipeline.log.port import Headers, NewRecord, Placed
from pipeline.log.transport.producer import CollectingProducer
from pipeline.log.transport.topics import Topics


class Producer(CollectingProducer):
    """Everything that is sent is collected, too: one write to the disk for each turn of the loop."""

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self.log_handle: EmbeddedLog = shared(transport.folder)
        self.topics = Topics(self.log_handle)
        super().__init__(transport, *args, **kwargs)

    async def on_start(self) -> None:
        """Open the log."""
        await open_whole(self.log_handle)
        await self.topics.refresh()
        if self.should_stop:  # stopped while it was starting: the stop has passed here already
            await self.log_handle.close()
        else:
            await super().on_start()

    async def on_shutdown(self) -> None:
        """Let the log go."""
        await super().on_shutdown()
        await self.log_handle.close()

    async def append_all(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records to the log."""
        return await self.log_handle.append(records)

    async def flush(self) -> None:
        """Wait until everything sent is durable."""
        await self.buffer.flush()
        await super().flush()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Collect a message; the future gets its place when it is durable. Unknown topics are created."""
        if self.topics.partitions(topic) is None:
            await self.topics.ensure([topic], self.app.conf.topic_partitions)
        if partition is not None and partition not in self.topics.partitions_for_topic(topic):
            raise ProducerSendError(f"topic {topic} has no partition {partition}")
        headers = _headers(headers)
        self.app.on_produce_message.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
        )
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        milliseconds = None if timestamp is None else round(timestamp * 1000)
        record = NewRecord(topic, key, value, headers, partition, milliseconds)

        def confirm(place: Placed) -> None:
            if not future.done():
                tp = TP(place.topic, place.partition)
                future.set_result(RecordMetadata(*tp, tp, place.offset, timestamp, 0))

        self.collect(record, confirm)
        return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send a message and wait until it is durable."""
        future = await self.send(*args, **kwargs)
        return await future

    async def create_topic(self, topic: str, partitions: int, replication: int, **options: Any) -> None:
        """Create a topic unless it exists."""
        await self.topics.create(topic, partitions, replication, **options)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition of a key, as Kafka would."""
        return TP(topic, self.topics.choose(topic, key))

    def supports_headers(self) -> bool:
        """Say yes."""
        return True


async def open_whole(log: EmbeddedLog) -> None:
    """Open a log; when cancelled meanwhile, first finish, so that there is something to close."""
    opening = asyncio.ensure_future(log.open())
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        raise


def _headers(headers: Any) -> Headers:
    if not headers:
        return ()
    items = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name, value) for name, value in items)
