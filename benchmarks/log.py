"""Events a second into and out of the log: 1 KiB values, durable before anybody is told.

    python -m benchmarks.log [--events N] [--kafka] [--profile]

The embedded log is measured beside the bare file: the same bytes written to one file with one fsync a group
of 100 events (append), and read from it in pieces of 1 MiB (read). With `--kafka`, Kafka (named by
PIPELINE_TEST_KAFKA) is measured beside bare aiokafka: batches of its own, sent and read without our log.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition

from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, TopicPartition, TopicSpec

VALUE_BYTES = 1024
GROUP = 100
PIECE_BYTES = 1 << 20
_TOPICS = 24


class Rate(NamedTuple):
    """One measured row: events a second of ours and of the bare way."""

    name: str
    ours: float
    bare: float


def make_values() -> list[bytes]:
    """Make a few values of 1 KiB that do not compress."""
    chance = random.Random(1)
    return [chance.randbytes(VALUE_BYTES) for _ in range(64)]


# --- bare ---


def bare_append(path: Path, values: Sequence[bytes], events: int) -> float:
    """Return the seconds to write the values in groups with an fsync each."""
    group = b"".join(values[n % len(values)] for n in range(GROUP))
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    started = time.perf_counter()
    for _ in range(events // GROUP):
        os.write(descriptor, group)
        os.fdatasync(descriptor)
    seconds = time.perf_counter() - started
    os.close(descriptor)
    return seconds


def bare_read(path: Path) -> float:
    """Return the seconds to read the file."""
    descriptor = os.open(path, os.O_RDONLY)
    started = time.perf_counter()
    position = 0
    while piece := os.pread(descriptor, PIECE_BYTES, position):
        position += len(piece)
    seconds = time.perf_counter() - started
    os.close(descriptor)
    return seconds


# --- ours ---


async def append(
    log: Log,
    values: Sequence[bytes],
    events: int,
    *,
    callers: int,
    batch: int,
    places: Sequence[TopicPartition],
) -> float:
    """Return the seconds until all events are durable: callers side by side, each waits for its batch."""
    batches = iter(range(events // batch))

    async def caller() -> None:
        for number in batches:
            topic, partition = places[number % len(places)]
            await log.append(
                [
                    NewRecord(topic, b"key", values[(number + n) % len(values)], partition=partition)
                    for n in range(batch)
                ]
            )

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - started


async def read(log: Log, places: Sequence[TopicPartition], events: int, *, batch: int) -> float:
    """Return the seconds to read all events from the start."""
    reader = log.reader(dict.fromkeys(places, 0))
    left = events
    started = time.perf_counter()
    while left:
        records = await reader.read(max_records=batch, wait_seconds=10)
        assert records, f"{left} events are missing"
        left -= len(records)
    seconds = time.perf_counter() - started
    await reader.close()
    return seconds


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[tuple[EmbeddedLog, list[TopicPartition]]]:
    """Open an embedded log with some topics of one partition."""
    log = EmbeddedLog(folder)
    await log.open()
    try:
        await log.create_topics([TopicSpec(f"topic-{n}") for n in range(_TOPICS)])
        yield log, [TopicPartition(f"topic-{n}", 0) for n in range(_TOPICS)]
    finally:
        await log.close()


async def embedded_rates(folder: Path, events: int) -> list[Rate]:
    """Measure the embedded log in a folder on the disk in question."""
    values = make_values()
    rates = []
    bare_path = folder / "bare"
    bare_rate = events / bare_append(bare_path, values, events)
    shapes = [
        ("100 an append, 8 callers, one topic", 8, GROUP, 1),
        ("100 an append, 8 callers, 24 topics", 8, GROUP, _TOPICS),
        ("1 an append, 500 callers, one topic", 500, 1, 1),
        ("1 an append, 500 callers, 24 topics", 500, 1, _TOPICS),
    ]
    for name, callers, batch, topics in shapes:
        async with embedded(folder / name.replace(" ", "-")) as (log, places):
            seconds = await append(
                log, values, events, callers=callers, batch=batch, places=places[:topics]
            )
        rates.append(Rate(f"embedded append, {name}", events / seconds, bare_rate))
    bare_rate = events / bare_read(bare_path)
    for name, _, _, topics in (shapes[0], shapes[2]):
        async with embedded(folder / name.replace(" ", "-")) as (log, places):
            seconds = await read(log, places[:topics], events, batch=500)
        rates.append(Rate(f"embedded read from disk, written {name}", events / seconds, bare_rate))
    async with embedded(folder / "tail") as (log, places):
        fits = min(events, 20_000)
        await append(log, values, fits, callers=8, batch=GROUP, places=places[:1])
        seconds = await read(log, places[:1], fits, batch=500)
    rates.append(Rate("embedded read of the newest, in memory", fits / seconds, bare_rate))
    return rates


# --- Kafka ---


async def bare_kafka(arguments: dict[str, Any], topic: str, values: Sequence[bytes], events: int) -> Rate:
    """Return rates of bare aiokafka: of sending (ours) and of reading (bare)."""
    producer = AIOKafkaProducer(**arguments, acks="all", enable_idempotence=True, max_batch_size=512 * 1024)
    await producer.start()
    started = time.perf_counter()
    for first in range(0, events, 500):
        batch = producer.create_batch()
        for n in range(500):
            batch.append(timestamp=None, key=b"key", value=values[(first + n) % len(values)])
        last = await producer.send_batch(batch, topic, partition=0)
    await last
    sent_seconds = time.perf_counter() - started
    await producer.stop()
    consumer = AIOKafkaConsumer(**arguments, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([KafkaPartition(topic, 0)])
    await consumer.seek_to_beginning()
    left, started = events, time.perf_counter()
    while left > 0:
        found = await consumer.getmany(timeout_ms=10_000, max_records=5000)
        left -= sum(len(records) for records in found.values())
    read_seconds = time.perf_counter() - started
    await consumer.stop()
    return Rate("", events / sent_seconds, events / read_seconds)


async def kafka_rates(address: str, events: int) -> list[Rate]:
    """Measure Kafka through our log and through bare aiokafka."""
    values = make_values()
    name = f"bench-{uuid.uuid4().hex[:8]}"
    log = KafkaLog(KafkaConnection((address,)))
    await log.open()
    try:
        topics = [f"{name}-{part}" for part in ("batches", "singles", "bare")]
        await log.create_topics([TopicSpec(topic) for topic in topics])
        places = [TopicPartition(topic, 0) for topic in topics]
        bare = await bare_kafka(client_arguments(KafkaConnection((address,))), topics[2], values, events)
        batches = await append(log, values, events, callers=8, batch=500, places=places[:1])
        singles = await append(log, values, events, callers=500, batch=1, places=places[1:2])
        read_seconds = await read(log, places[:1], events, batch=5000)
    finally:
        await log.close()
    return [
        Rate("kafka append, 500 an append, 8 callers", events / batches, bare.ours),
        Rate("kafka append, 1 an append, 500 callers", events / singles, bare.ours),
        Rate("kafka read", events / read_seconds, bare.bare),
    ]


def measure(events: int, *, kafka: bool) -> list[Rate]:
    """Measure everything; events are rounded down to whole groups of 500."""
    events -= events % 500
    with tempfile.TemporaryDirectory() as folder:
        rates = asyncio.run(embedded_rates(Path(folder), events))
    if kafka:
        rates += asyncio.run(kafka_rates(os.environ["PIPELINE_TEST_KAFKA"], events))
    return rates


def main() -> None:
    """Print a row a way of using the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()

    def run() -> list[Rate]:
        return measure(options.events, kafka=options.kafka)

    for name, ours, bare in _profiled(run) if options.profile else run():
        print(f"{name:62} {ours:10,.0f}/s   bare {bare:10,.0f}/s   {ours / bare:6.2f}")


def _profiled(run: Callable[[], list[Rate]]) -> list[Rate]:
    profile = cProfile.Profile()
    rates = profile.runcall(run)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return rates


if __name__ == "__main__":
    main()
