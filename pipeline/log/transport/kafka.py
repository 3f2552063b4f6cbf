"""The Faust transport ``headrace-kafka://host:port[;…]``: Faust's own Kafka driver with our lean parts.

Session and rebalance timeouts, TLS and SASL are Faust's settings (`app.create_app` sets them).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import CorruptRecordException, IllegalStateError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver

from pipeline import limits
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.kafka.fetched import consumer_records, records_of
from pipeline.log.kafka.starting import finish_consumer
from pipeline.log.membership import count_rebalance
from pipeline.log.port import NewRecord, Placed, Record, TopicPartition
from pipeline.log.transport import quiet
from pipeline.log.transport.conductor import Conductor
from pipeline.log.transport.drain import LeanConsumer
from pipeline.log.transport.producer import CollectingProducer


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Faust's listener, which must not keep aiokafka in its group when the app stops meanwhile."""

    def on_partitions_revoked(self, revoked: Any) -> Awaitable[None]:
        """Tell the app (called in aiokafka's thread)."""
        return self._unless_stopped(super().on_partitions_revoked(revoked))

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Tell the app (called in aiokafka's thread)."""
        count_rebalance(self._thread.app.conf.id)
        await self._unless_stopped(super().on_partitions_assigned(assigned))

    async def _unless_stopped(self, call: Awaitable[None]) -> None:
        telling = asyncio.ensure_future(call)
        stopping = asyncio.ensure_future(self._thread._stopped.wait())
        try:
            await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            telling.cancel()
        if telling.done():
            telling.result()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka, which must not outlive a stop because a broker is silent."""

    def _start_thread(self) -> None:
        try:
            super()._start_thread()
        except Exception as error:  # noqa: BLE001 - whoever started the thread was given it, whatever it is
            self.log.debug("the consumer's thread ended: %r", error)

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Log what Faust would print."""
        self.log.error(msg.format(*fmt))

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on.

        An app that declares no topics subscribes to a pattern which matches just these. Brokers create a
        topic that a client names and that is not there, as one which was deleted meanwhile; asking for a
        pattern names none, and what is gone drops out of the subscription.
        """
        if self.app.conf.topic_allow_declare:
            await super().subscribe(topics)
            return
        pattern = "|".join(map(re.escape, sorted(topics)))
        consumer = self._ensure_consumer()
        await self.call_thread(
            consumer.subscribe, pattern=rf"(?:{pattern})\Z", listener=self._rebalance_listener
        )

    async def stop(self) -> None:
        """Stop the thread, also one that has only just begun to start, or never did."""
        if self._thread is None:
            self.thread_loop.close()
            return
        while self._beginning():  # noqa: ASYNC110 - the flag is set by another thread
            await asyncio.sleep(limits.THREAD_LOOK_SECONDS)
        await super().stop()

    def _beginning(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._started.is_set()

    async def on_thread_stop(self) -> None:
        """Leave the group and close; when that takes too long the brokers find out by themselves."""
        # aiokafka's own end breaks off where a fetch waits to be tried again; the rest comes below.
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(limits.STOP_FLUSH_SECONDS):
                await super().on_thread_stop()
                return
        if self._consumer is not None:
            await finish_consumer(self._consumer)


class Consumer(LeanConsumer, driver.Consumer):
    """Faust's Kafka consumer, lean."""

    RebalanceListener = RebalanceListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log = KafkaLog(_connection(self.app, self.transport))

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> dict[Any, list[Any]]:
        try:
            found: dict[Any, list[Any]] = await super()._getmany(active_partitions, timeout)
        except (CorruptRecordException, UnicodeDecodeError) as error:
            self.log.warning("aiokafka cannot read on as group %s: %r", self.app.conf.id, error)
            found = await self._read_past(active_partitions or self.assignment())
        return found

    async def _read_past(self, tps: Iterable[Any]) -> dict[Any, list[Any]]:
        """Read what aiokafka cannot, as names of headers that are not UTF-8.

        All partitions are read: aiokafka lost what it had of others when it failed at one.

        Raises:
            Damaged: A batch is not what was written.
            Unavailable: Kafka does not answer.
        """
        await self._log.open()
        found = {}
        for tp in map(ensure_TP, tps):
            progress = self._progress.get(tp)
            if progress is None:
                continue
            fetched = await self._log.fetch(
                TopicPartition(*tp),
                progress.next,
                max_records=limits.FETCH_PARTITION_RECORDS,
                max_bytes=limits.FETCH_PARTITION_BYTES,
            )
            await self._seek(tp, fetched.next)
            found[tp] = consumer_records(fetched.records)
        return found

    async def on_stop(self) -> None:
        """Commit for the last time, then end the connections."""
        await super().on_stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STOP_FLUSH_SECONDS):
                await self._log.close()

    def to_records(self, records: Sequence[Any]) -> list[Record]:
        """Turn what aiokafka read into ours."""
        return records_of(records)

    async def position(self, tp: Any) -> int | None:
        """Return the offset the next fetch begins at; None when the partition was lost meanwhile."""
        try:
            position: int | None = await super().position(tp)
        except IllegalStateError:
            return None
        return position

    def close(self) -> None:
        """Nothing: Faust would cut the connection of a member that has yet to leave its group."""

    def highwater(self, tp: Any) -> int:
        """Return the end of a partition as it was last seen; 0 when it was lost meanwhile."""
        try:
            return super().highwater(tp) or 0
        except IllegalStateError:
            return 0

    async def _seek(self, partition: Any, offset: int) -> None:
        # Faust seeks from this thread; aiokafka's state belongs to the consumer's own.
        consumer = self._thread._ensure_consumer()
        await self._thread.call_thread(consumer.seek, KafkaPartition(*partition), offset)


class Producer(CollectingProducer, driver.Producer):
    """Faust's Kafka producer; what tables write goes through a `KafkaLog` of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log = KafkaLog(_connection(self.app, self.transport))
        self._log_opened = False

    async def append_all(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records to Kafka; connects at the first call."""
        if not self._log_opened:
            await self._log.open()
            self._log_opened = True
        return await self._log.append(records)

    async def on_stop(self) -> None:
        """End the connections; a silent broker does not hold up the stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * limits.STOP_FLUSH_SECONDS):
                await super().on_stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STOP_FLUSH_SECONDS):
                await self._log.close()


def _connection(app: Any, transport: Any) -> KafkaConnection:
    """Return how to reach the Kafka of an app; any Faust app may run on this transport."""
    given: KafkaConnection | None = getattr(app, "connection", None)
    servers = driver.server_list(transport.url, transport.default_port)
    return given or KafkaConnection(bootstrap_servers=tuple(servers))


class Transport(driver.Transport):
    """Kafka under Faust, with lists instead of single messages."""

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        quiet.limit_logs()
