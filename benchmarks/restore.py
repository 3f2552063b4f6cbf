"""Messages a second from the archive back into Kafka: values of 1 KiB, out of packs and single objects.

    python -m benchmarks.restore [--messages N] [--profile]

Measured beside bare aiokafka in the same run, with the same records, at hand in memory, idempotent and
acknowledged by all replicas: `send` of its producer, a message a call, and batches put together by hand,
which is the most a client can do. Rows are in SQLite and objects in a folder; and in PostgreSQL, and in S3
too, where the environment names them. As from the command line, a restore is shared out among processes,
one a core, and the time to start them counts. Needs the Kafka named by PIPELINE_TEST_KAFKA.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.archive import _postgres, json_only, make_messages
from benchmarks.archive_kafka import remove, servers
from pipeline import limits
from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.restore.restore import Options, Selection, restore
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.cli.loop import run_loop
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, TopicSpec
from pipeline.objects.location import make_store

PARTITIONS = 8
BATCH = 400
PACK = 5000
LAYOUTS = ("packs", "objects")
SINGLE = 10
"""One in so many messages is also stored as an object of its own."""
T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """Archive and Kafka, opened here or in another process."""

    database: str
    objects: str
    folder: Path
    address: str

    def __call__(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        """Open both, run `work` and close both."""
        return run_loop(self._run(work))

    async def _run(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        async with self.here() as (archive, log):
            return await work(archive, log)

    @asynccontextmanager
    async def here(self) -> AsyncIterator[tuple[Archive, KafkaLog]]:
        """Open both while the block runs."""
        log = KafkaLog(KafkaConnection((self.address,)))
        database = Database(self.database, self.folder)
        objects = make_store(self.objects, data_folder=self.folder)
        await log.open()
        await database.open()
        await objects.open()
        yield Archive(objects, database, SystemClock()), log
        await objects.close()
        await database.close()
        await log.close()


class Rate(NamedTuple):
    """One measured row: messages a second of ours, of aiokafka's producer and of batches made by hand."""

    name: str
    ours: float
    producer: float
    batches: float


def _producer(address: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **client_arguments(KafkaConnection((address,))),
        acks="all",
        enable_idempotence=True,
        max_batch_size=limits.KAFKA_BATCH_BYTES,
        max_request_size=limits.KAFKA_MESSAGE_MAX_BYTES,
    )


async def bare_sends(address: str, topic: str, messages: list[Message]) -> float:
    """Send the messages one by one, waiting for all at the end, and return messages a second."""
    async with _producer(address) as producer:
        started = time.perf_counter()
        sent = [
            await producer.send(
                topic,
                key=message.key,
                value=message.value,
                partition=message.partition,
                timestamp_ms=message.timestamp_ms,
                headers=list(message.headers or ()),
            )
            for message in messages
        ]
        for each in sent:
            await each
        return len(messages) / (time.perf_counter() - started)


async def bare_batches(address: str, topic: str, messages: list[Message]) -> float:
    """Send the messages in batches put together here and return messages a second."""
    async with _producer(address) as producer:
        started = time.perf_counter()
        sent = []
        for first in range(0, len(messages), BATCH):
            batch = producer.create_batch()
            for message in messages[first : first + BATCH]:
                headers = list(message.headers or ())
                batch.append(
                    timestamp=message.timestamp_ms, key=message.key, value=message.value, headers=headers
                )
            sent.append(await producer.send_batch(batch, topic, partition=first // BATCH % PARTITIONS))
        for each in sent:
            await each
        return len(messages) / (time.perf_counter() - started)


async def warm(address: str, messages: list[Message]) -> None:
    """Let a Kafka that was just started compile what it runs."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    log = KafkaLog(KafkaConnection((address,)))
    await log.open()
    await log.create_topics([TopicSpec(name, PARTITIONS)])
    for _ in range(3):
        await bare_batches(address, name, messages)
    await log.close()
    await _remove_topics(address, name)


async def measure(
    address: str, database: str, objects: str, messages: list[Message], layouts: Sequence[str] = LAYOUTS
) -> list[Rate]:
    """Measure one archive, with packs and with single objects."""
    kind = f"{database.partition(':')[0]} and {objects.partition(':')[0]}"
    rates = []
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        opened = Opened(database, objects, Path(folder), address)
        async with opened.here() as (archive, log):
            for layout in layouts:
                topic = f"{name}-{layout}"
                some = messages if layout == "packs" else messages[: len(messages) // SINGLE]
                await _archive(archive, topic, layout, some)
                await log.create_topics([TopicSpec(f"{topic}-bare", PARTITIONS)])
                sends = max([await bare_sends(address, f"{topic}-bare", some) for _ in range(3)])
                batches = max([await bare_batches(address, f"{topic}-bare", some) for _ in range(3)])
                ours = max([await _restore(archive, log, opened, topic, n) for n in range(3)])
                rates.append(Rate(f"restore, {layout}, {kind}", ours, sends, batches))
            await remove(archive.objects)
        await _remove_topics(address, name)
    return rates


async def _remove_topics(address: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(name)])
    await admin.close()


async def _archive(archive: Archive, topic: str, layout: str, messages: list[Message]) -> None:
    alone = ArchiveWriter(archive.objects, archive.database, clock=archive.clock, media_types=json_only)
    writer = PackWriter(alone) if layout == "packs" else alone
    for partition in range(PARTITIONS):
        here = [
            Message(topic, partition, each.offset, each.timestamp_ms, each.key, each.value, each.headers)
            for each in messages
            if each.partition == partition
        ]
        for first in range(0, len(here), PACK):
            outcomes = await writer.store(here[first : first + PACK])
            assert all(outcome.stored for outcome in outcomes)


async def _restore(archive: Archive, log: KafkaLog, opened: Opened, topic: str, number: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        options = Options(dest_topic=f"{{topic}}-{number}", journal=Path(folder) / "journal")
        started = time.perf_counter()
        report = await restore(archive, log, Selection(topics=(topic,)), options, elsewhere=opened)
        seconds = time.perf_counter() - started
    assert report.complete
    return report.sent_now / seconds


async def measure_all(address: str, count: int) -> list[Rate]:
    """Measure an archive on this machine, and one on servers where there are some."""
    messages = [
        Message(
            each.topic, each.partition, each.offset, each.timestamp_ms, each.key, each.value, _headers(n)
        )
        for n, each in enumerate(make_messages(count, "made"))
    ]
    await warm(address, messages)
    rates = await measure(address, "sqlite:", "folder:", messages)
    if where := servers():
        objects = f"{where.objects}&prefix=bench-{uuid.uuid4().hex[:8]}"
        async with _postgres(where.postgres) as url:
            rates += await measure(address, url, "folder:", messages)
            rates += await measure(address, url, objects, messages, ["packs"])
    return rates


def _headers(number: int) -> tuple[tuple[str, bytes], ...]:
    """Give the headers clients send."""
    made = uuid.uuid5(uuid.NAMESPACE_URL, str(number))
    return (("_id", made.bytes), ("_sender", b"someone"), ("_format", b"json"))


def main() -> None:
    """Measure and print one line a layout and database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    address = os.environ.get("PIPELINE_TEST_KAFKA")
    if not address:
        print("restore: needs PIPELINE_TEST_KAFKA")
        return
    profile = cProfile.Profile()
    if chosen.profile:
        profile.enable()
    rates = run_loop(measure_all(address, chosen.messages))
    profile.disable()
    for rate in rates:
        print(
            f"{rate.name:42} {rate.ours:>9,.0f}/s   producer {rate.producer:>9,.0f}/s"
            f" {rate.ours / rate.producer:6.2f}   batches {rate.batches:>9,.0f}/s"
            f" {rate.ours / rate.batches:6.2f}"
        )
    if chosen.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
