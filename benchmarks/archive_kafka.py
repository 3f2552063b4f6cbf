"""The archive end to end: from Kafka through the transport and the keeper into S3 and PostgreSQL.

As many workers as cores, each with a part of the messages, as an operator would start them. Beside it, in
the same run: (a) aiokafka alone reading the same messages, (b) nothing but puts of as many objects as
large, with the same client and as many at once, (c) asyncpg alone copying the same rows into the same
table. Part of ``python -m benchmarks.archive``, where the environment names the servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from pipeline import limits, limits_archive
from pipeline.archive.rows import Row
from pipeline.archive.storing.keeper import Keeper, PackSize
from pipeline.archive.storing.keeper_work import Layout
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.cli.loop import run_loop
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import TopicSpec
from pipeline.log.transport.app import create_app, kafka_broker
from pipeline.objects.location import make_store
from pipeline.objects.port import ObjectStore

PARTITIONS = 4
WORKERS = len(os.sched_getaffinity(0))
PAYLOAD_BYTES = 1024
BATCH_RECORDS = 200
_barrier: Any = None
VARIABLES = ("PIPELINE_TEST_KAFKA", "PIPELINE_TEST_S3_ENDPOINT", "PIPELINE_TEST_POSTGRES")


class Servers(NamedTuple):
    """The real servers of the environment."""

    kafka: str
    objects: str
    postgres: str


class Run(NamedTuple):
    """An archive of its own on the servers, and the topics that go into it, as large as each other."""

    servers: Servers
    topics: tuple[str, ...]
    messages: int
    objects: ObjectStore
    database: Database
    schema: str
    folder: Path


class Task(NamedTuple):
    """What a worker archives."""

    servers: Servers
    topic: str
    messages: int
    schema: str
    folder: Path
    layout: Layout


class Span(NamedTuple):
    """From the first batch to the last acknowledgement; seconds of the machine's clock."""

    first: float
    last: float


def servers() -> Servers | None:
    """Give the servers the environment names; None when one is missing."""
    if any(not os.environ.get(name) for name in VARIABLES):
        return None
    s3 = {name: os.environ[f"PIPELINE_TEST_S3_{name}"] for name in ("ENDPOINT", "BUCKET", "REGION")}
    key, secret = os.environ["PIPELINE_TEST_S3_ACCESS_KEY"], os.environ["PIPELINE_TEST_S3_SECRET_KEY"]
    scheme, _, host = s3["ENDPOINT"].partition("://")
    url = f"s3+{scheme}://{key}:{secret}@{host}/{s3['BUCKET']}?region={s3['REGION']}"
    return Servers(os.environ[VARIABLES[0]], url, os.environ[VARIABLES[2]])


@contextlib.asynccontextmanager
async def opened(where: Servers, topics: tuple[str, ...], messages: int) -> AsyncIterator[Run]:
    """Give an empty archive, and remove it afterwards."""
    schema = f"bench_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _parts(where, schema, folder) as (objects, database):
            yield Run(where, topics, messages, objects, database, schema, folder)
            await remove(objects)
        connection = await asyncpg.connect(where.postgres)
        await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.close()


@contextlib.asynccontextmanager
async def _parts(where: Servers, schema: str, folder: Path) -> AsyncIterator[tuple[ObjectStore, Database]]:
    objects = make_store(f"{where.objects}&prefix={schema}", data_folder=folder)
    database = Database(f"{where.postgres}?schema={schema}", folder)
    await objects.open()
    await database.open()
    try:
        yield objects, database
    finally:
        await database.close()
        await objects.close()


async def remove(objects: ObjectStore) -> None:
    """Remove all objects."""
    keys = iter([stat.key async for stat in objects.list("")])

    async def worker() -> None:
        for key in keys:
            await objects.delete(key)

    await asyncio.gather(*(worker() for _ in range(limits.S3_THREADS)))


async def fill(where: Servers, messages: int) -> tuple[str, ...]:
    """Publish messages as hop clients do, and return their topics, one for each worker."""
    return tuple([await _fill(where, messages // WORKERS) for _ in range(WORKERS)])


async def _fill(where: Servers, messages: int) -> str:
    """Fill a topic with messages that have an `_id` and a format."""
    topic = f"bench-{uuid.uuid4().hex[:12]}"
    log = KafkaLog(KafkaConnection(bootstrap_servers=(where.kafka,)))
    await log.open()
    await log.create_topics([TopicSpec(topic, PARTITIONS)])
    await log.close()
    producer = AIOKafkaProducer(bootstrap_servers=where.kafka, max_batch_size=limits.KAFKA_BATCH_BYTES)
    await producer.start()
    sent: list[Any] = []
    for n in range(messages):
        headers = [("_id", uuid.uuid4().bytes), ("_sender", b"bench-user"), ("_format", b"json")]
        sent.append(
            await producer.send(topic, payload(n), key=b"%d" % n, partition=n % PARTITIONS, headers=headers)
        )
        if len(sent) == 10_000:
            await asyncio.gather(*sent)
            sent.clear()
    await asyncio.gather(*sent)
    await producer.stop()
    return topic


async def _forget(where: Servers, *topics: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=where.kafka)
    await admin.start()
    await admin.delete_topics(list(topics))
    await admin.close()


def payload(number: int) -> bytes:
    """Make one event of 1 KiB."""
    event = {"model": "status", "n": number, "id": f"{number:064x}", "fill": ""}
    event["fill"] = "x" * (PAYLOAD_BYTES - len(json.dumps(event)))
    return json.dumps(event).encode()


async def _no_media_types(blocks: Any) -> list[str]:
    return ["application/json"] * len(blocks)


async def _nobody_is_refused(refused: Any) -> None:
    raise AssertionError(refused)


def make_keeper(objects: ObjectStore, database: Database, layout: Layout) -> Keeper:
    """Make the keeper the settings would."""
    alone = ArchiveWriter(objects, database, clock=SystemClock(), media_types=_no_media_types)
    return Keeper(
        alone,
        PackWriter(alone),
        layout=lambda _: layout,
        clock=SystemClock(),
        park=_nobody_is_refused,
        pack=PackSize(seconds=2),
    )


async def archive(run: Run, layout: Layout) -> float:
    """Archive the topics, a worker each, and return messages a second."""
    tasks = [
        Task(run.servers, topic, run.messages // WORKERS, run.schema, run.folder / topic, layout)
        for topic in run.topics
    ]
    starting = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, starting, _set_barrier, (starting.Barrier(WORKERS),)) as pool:
        loop = asyncio.get_running_loop()
        spans = await asyncio.gather(*(loop.run_in_executor(pool, _work, task) for task in tasks))
    return run.messages / (max(span.last for span in spans) - min(span.first for span in spans))


def _set_barrier(barrier: Any) -> None:
    global _barrier  # noqa: PLW0603 -- how a pool hands something to its processes
    _barrier = barrier


def _work(task: Task) -> Span:
    """Archive a topic in a worker of its own; it starts together with the others."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    task.folder.mkdir()
    return run_loop(_work_here(task, _barrier.wait))


async def _work_here(
    task: Task, ready: Callable[[], object] = int, look: Callable[[int], None] = lambda _: None
) -> Span:
    async with _parts(task.servers, task.schema, task.folder) as (objects, database):
        app = create_app(
            f"{task.schema}.{task.topic}",
            kafka_broker([task.servers.kafka]),
            data_folder=task.folder,
            partitions=PARTITIONS,
            linger_seconds=limits.SINK_LINGER_SECONDS,
        )
        keeper, taken, started = make_keeper(objects, database, task.layout), 0, 0.0
        finished, failed = asyncio.Event(), []

        async def agent(stream: Any) -> None:
            nonlocal taken, started
            async for batch in stream.batches(max_records=BATCH_RECORDS):
                started = started or time.monotonic()
                try:
                    await keeper.take(batch)
                except Exception as error:  # noqa: BLE001 -- ends the measurement, whatever it is
                    failed.append(error)
                    finished.set()
                taken += len(batch)
                look(taken)
                if taken >= task.messages:
                    finished.set()

        app.agent(app.source(task.topic), name="archive")(agent)
        await asyncio.to_thread(ready)
        await app.start()
        await finished.wait()
        if failed:
            raise failed[0]
        await keeper.drain()
        span = Span(started, time.monotonic())
        await keeper.close()
        await app.stop()
    return span


async def consume(run: Run) -> float:
    """Read the topics with aiokafka alone and return messages a second."""
    consumer = AIOKafkaConsumer(
        *run.topics,
        bootstrap_servers=run.servers.kafka,
        group_id=f"{run.schema}.bare",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=limits.FETCH_PARTITION_BYTES,
    )
    await consumer.start()
    done, started = 0, 0.0
    while done < run.messages:
        found = await consumer.getmany(timeout_ms=200, max_records=2000)
        started = started or (time.perf_counter() if found else 0.0)
        done += sum(len(records) for records in found.values())
    rate = run.messages / (time.perf_counter() - started)
    await consumer.stop()
    return rate


async def put(run: Run, size_bytes: int) -> float:
    """Put as many objects of that size, as many at once as the archive, and return objects a second."""
    data, numbers = os.urandom(size_bytes), iter(range(run.messages))

    async def worker() -> None:
        for n in numbers:
            await run.objects.put(f"bare/2023/11/14/22/{n}.bson", data)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(limits_archive.ARCHIVE_CONCURRENCY)))
    return run.messages / (time.perf_counter() - started)


async def copy(run: Run, rows: list[tuple[Any, ...]]) -> float:
    """Copy rows into the table with asyncpg alone, a transaction for each 5,000; return rows a second."""
    connection = await asyncpg.connect(run.servers.postgres, server_settings={"search_path": run.schema})
    started = time.perf_counter()
    for some in _portions(rows):
        await connection.copy_records_to_table("messages", records=some, columns=Row.__struct_fields__)
    rate = len(rows) / (time.perf_counter() - started)
    await connection.close()
    return rate


def _portions(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), limits_archive.ARCHIVE_PACK_RECORDS):
        yield rows[start : start + limits_archive.ARCHIVE_PACK_RECORDS]


async def rows_of(run: Run) -> list[tuple[Any, ...]]:
    """Read all rows of a run back, as they would be copied."""
    connection = await asyncpg.connect(run.servers.postgres, server_settings={"search_path": run.schema})
    columns = ", ".join(f'"{name}"' for name in Row.__struct_fields__)
    found = await connection.fetch(f"SELECT {columns} FROM messages ORDER BY id")  # noqa: S608
    await connection.close()
    return [tuple(row) for row in found]


class Figures(NamedTuple):
    """Messages a second of one round."""

    consume: float
    put: float
    copy: float
    objects: float
    packs: float


Filled = tuple[tuple[str, ...], int]
"""Topics and how many messages they have."""


async def measure(where: Servers, packed: Filled, single: Filled) -> Figures:
    """Measure everything once: some topics in packs, others, smaller ones, as single objects."""
    async with opened(where, *packed) as run:
        consumed = await consume(run)
        packs = await archive(run, "packs")
        rows = await rows_of(run)
    async with opened(where, *packed) as run:
        copied = await copy(run, rows)
    size_bytes = sum(row[Row.__struct_fields__.index("size")] for row in rows) // len(rows)
    async with opened(where, *single) as run:
        objects = await archive(run, "objects")
    async with opened(where, *single) as run:
        return Figures(consumed, await put(run, size_bytes), copied, objects, packs)


async def measure_servers(messages: int, single: int, rounds: int) -> list[tuple[str, float, float]]:
    """Give each row's name, our messages a second, and those it is measured by: medians of all rounds."""
    where = servers()
    if where is None:
        return []
    topics, small = await fill(where, messages), await fill(where, single)
    figures = [await measure(where, (topics, messages), (small, single)) for _ in range(rounds)]
    await _forget(where, *topics, *small)
    middle = Figures(*(statistics.median(each) for each in zip(*figures, strict=True)))
    slowest = min(middle.consume, middle.copy)
    return [
        ("Kafka to S3 and PostgreSQL, objects; puts alone", middle.objects, middle.put),
        ("Kafka to S3 and PostgreSQL, packs; slower of the two below", middle.packs, slowest),
        ("  Kafka alone; aiokafka", middle.consume, middle.consume),
        ("  rows alone; COPY", middle.copy, middle.copy),
    ]


async def measure_memory(messages: int) -> list[tuple[int, int]]:
    """Archive so many messages in packs and give the resident bytes at ten points of the way."""
    where = servers()
    if where is None:
        return []
    points: list[tuple[int, int]] = []
    topic = await _fill(where, messages)

    def look(taken: int) -> None:
        if taken >= (len(points) + 1) * messages // 10:
            points.append((taken, _resident_bytes()))

    async with opened(where, (topic,), messages) as run:
        await _work_here(Task(where, topic, messages, run.schema, run.folder, "packs"), look=look)
    await _forget(where, topic)
    return points


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
