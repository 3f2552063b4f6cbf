"""Events a second through an agent: 1 KiB JSON events, batches of 500, several batches in work at once.

    python -m benchmarks.transport [--events N] [--profile]

Each row is measured beside a bare loop in the same run. On Kafka (when PIPELINE_TEST_KAFKA names one) that
is aiokafka alone: fetch, decode, put into whole batches, send, and commit every second. On the embedded
log it is the log alone: read, and append where the row appends. All end when everything is durable.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline import limits
from pipeline.log.connection import KafkaConnection
from pipeline.log.embedded.log import shared
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, TopicPartition, TopicSpec
from pipeline.log.transport.app import create_app, embedded_broker, kafka_broker
from pipeline.log.transport.batch import Batch

PARTITIONS = 4
EVENT_BYTES = 1024
IN_WORK = 4
"""Batches an agent works on at once."""


class Rate(NamedTuple):
    """One measured row: events a second of ours and of the bare loop."""

    name: str
    ours: float
    bare: float


class Field(NamedTuple):
    """Where a row is measured."""

    log: Log
    broker: str
    folder: Path
    name: str
    events: int

    def places(self, topic: str = "in") -> list[TopicPartition]:
        """Return the partitions of a topic."""
        return [TopicPartition(f"{self.name}.{topic}", number) for number in range(PARTITIONS)]


async def fill(field: Field) -> None:
    """Make the topics, and the events of the input."""
    specs = [TopicSpec(f"{field.name}.{topic}", PARTITIONS) for topic in ("in", "out", "bare")]
    await field.log.create_topics(specs)
    for start in range(0, field.events, 1000):
        numbers = range(start, min(start + 1000, field.events))
        await field.log.append(
            [NewRecord(specs[0].name, b"%d" % n, _event(n), partition=n % PARTITIONS) for n in numbers]
        )


def _event(number: int) -> bytes:
    event = {"model": "status", "n": number, "id": f"{number:064x}", "fill": ""}
    event["fill"] = "x" * (EVENT_BYTES - len(orjson.dumps(event)))
    return orjson.dumps(event)


Work = Callable[[Batch, Any], Awaitable[None]]


async def agent(field: Field, work: Work, *, table: bool = False) -> float:
    """Run an agent over the whole input and return events a second, from the first batch on."""
    group = f"{field.name}.{uuid.uuid4().hex[:8]}"
    app = create_app(group, field.broker, data_folder=field.folder, partitions=PARTITIONS)
    rows = app.Table("rows") if table else None
    done, started, finished = 0, 0.0, asyncio.Event()

    async def handle(batch: Batch, window: asyncio.Semaphore) -> None:
        nonlocal done
        try:
            await work(batch, rows)
        finally:
            window.release()
        batch.acknowledge()
        done += len(batch)
        if done >= field.events:
            finished.set()

    async def take(stream: Any) -> None:
        nonlocal started
        window = asyncio.Semaphore(IN_WORK)
        async with asyncio.TaskGroup() as group:
            async for batch in stream.batches():
                started = started or time.perf_counter()
                await window.acquire()
                group.create_task(handle(batch, window))

    app.agent(app.source(f"{field.name}.in"), name="take")(take)
    await app.start()
    await finished.wait()
    rate = field.events / (time.perf_counter() - started)
    await app.stop()
    return rate


async def _nothing(_: Batch, __: Any) -> None:
    """Do nothing with a batch."""


async def _write_rows(batch: Batch, rows: Any) -> None:
    for record in batch.records:
        rows.put(record.key, record.value, partition=record.partition)
    await rows.flushed()


def _forward(field: Field) -> Work:
    async def work(batch: Batch, _: Any) -> None:
        topic = f"{field.name}.out"
        sent = []
        for record in batch.records:
            orjson.loads(record.value or b"")
            sent.append(NewRecord(topic, record.key, record.value, partition=record.partition))
        await field.log.append(sent)

    return work


def _write_and_forward(field: Field) -> Work:
    forward = _forward(field)

    async def work(batch: Batch, rows: Any) -> None:
        for record in batch.records:
            rows.put(record.key, record.value, partition=record.partition)
        await forward(batch, rows)
        await rows.flushed()

    return work


# --- bare loops -------------------------------------------------------------------------------


async def bare_log(field: Field, *, append: bool) -> float:
    """Read the input with the log's own reader, and append it to another topic or not."""
    reader = field.log.reader(dict.fromkeys(field.places(), 0))
    topic = f"{field.name}.bare"
    done, started = 0, time.perf_counter()
    while done < field.events:
        records = await reader.read(max_records=2000, wait_seconds=1)
        if append:
            for record in records:
                orjson.loads(record.value or b"")
            await field.log.append(
                [
                    NewRecord(topic, record.key, record.value, partition=record.partition)
                    for record in records
                ]
            )
        done += len(records)
    rate = field.events / (time.perf_counter() - started)
    await reader.close()
    return rate


async def bare_kafka(field: Field, address: str, *, produce: bool) -> float:
    """Fetch, decode, send whole batches and commit, with nothing but aiokafka."""
    consumer = AIOKafkaConsumer(
        f"{field.name}.in",
        bootstrap_servers=address,
        group_id=f"{field.name}.bare",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=limits.FETCH_PARTITION_BYTES,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", max_batch_size=limits.KAFKA_BATCH_BYTES
    )
    await consumer.start()
    await producer.start()
    done, started, committed = 0, 0.0, time.perf_counter()
    while done < field.events:
        found = await consumer.getmany(timeout_ms=200, max_records=2000)
        started = started or (time.perf_counter() if found else 0.0)
        done += sum(len(records) for records in found.values())
        if not produce:
            continue
        await _send(producer, f"{field.name}.bare", found)
        if time.perf_counter() - committed > 1:
            await consumer.commit()
            committed = time.perf_counter()
    rate = field.events / (time.perf_counter() - started)
    await consumer.stop()
    await producer.stop()
    return rate


async def _send(producer: Any, topic: str, found: Any) -> None:
    futures = []
    for place, records in found.items():
        builder = producer.create_batch()
        for record in records:
            orjson.loads(record.value)
            fields = {"timestamp": record.timestamp, "key": record.key, "value": record.value}
            if builder.append(**fields) is None:
                futures.append(await producer.send_batch(builder, topic, partition=place.partition))
                builder = producer.create_batch()
                builder.append(**fields)
        futures.append(await producer.send_batch(builder, topic, partition=place.partition))
    await asyncio.gather(*futures)


# --- rows -------------------------------------------------------------------------------------


async def measure_embedded(events: int) -> list[Rate]:
    """Measure on an embedded log in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = shared(folder / "log")
        await log.open()
        field = Field(log, embedded_broker(folder / "log"), folder, "bench", events)
        await fill(field)
        read = await bare_log(field, append=False)
        forward = await bare_log(field, append=True)
        rows = [
            Rate("embedded: nothing", await agent(field, _nothing), read),
            Rate("embedded: table", await agent(field, _write_rows, table=True), forward),
            Rate("embedded: decode + append", await agent(field, _forward(field)), forward),
            Rate(
                "embedded: table + decode + append",
                await agent(field, _write_and_forward(field), table=True),
                forward,
            ),
        ]
        await log.close()
        return rows


@asynccontextmanager
async def kafka_field(events: int, address: str) -> AsyncIterator[Field]:
    """Give topics of their own on the real Kafka."""
    log = KafkaLog(KafkaConnection(bootstrap_servers=(address,)))
    await log.open()
    with tempfile.TemporaryDirectory() as name:
        yield Field(log, kafka_broker([address]), Path(name), f"bench{uuid.uuid4().hex[:8]}", events)
    await log.close()


async def measure_kafka(events: int, address: str) -> list[Rate]:
    """Measure on the real Kafka."""
    async with kafka_field(events, address) as field:
        await fill(field)
        read = await bare_kafka(field, address, produce=False)
        forward = await bare_kafka(field, address, produce=True)
        return [
            Rate("kafka: nothing", await agent(field, _nothing), read),
            Rate("kafka: table", await agent(field, _write_rows, table=True), forward),
            Rate("kafka: decode + produce", await agent(field, _forward(field)), forward),
            Rate(
                "kafka: table + decode + produce",
                await agent(field, _write_and_forward(field), table=True),
                forward,
            ),
        ]


async def measure(events: int) -> list[Rate]:
    """Measure every row there is a log for."""
    rates = await measure_embedded(events)
    address = os.environ.get("PIPELINE_TEST_KAFKA")
    if address:
        rates += await measure_kafka(events, address)
    return rates


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    rates = uvloop.run(measure(options.events))
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    for rate in rates:
        print(f"{rate.name:36} {rate.ours:10,.0f}/s {rate.bare:10,.0f}/s {rate.ours / rate.bare:6.0%}")


if __name__ == "__main__":
    main()
