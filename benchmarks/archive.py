"""Messages a second through the archive: 1 KiB events, into memory, and from Kafka into S3 and PostgreSQL.

    python -m benchmarks.archive [--messages N] [--packed N] [--single N] [--rounds N] [--profile]
    python -m benchmarks.archive --memory 1000000

Each row is measured beside a bare loop in the same run. With objects in memory, in batches of 200: encode
the same documents, keep them in a dictionary, insert the same rows in the same batches, with no duplicate
check, no statistics and no identity; PostgreSQL where PIPELINE_TEST_POSTGRES names one, in a schema that
is dropped after. From Kafka, where the environment names all servers: see `benchmarks.archive_kafka`.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import bson
import structlog
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks import archive_kafka
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.cli.loop import run_loop
from pipeline.clock import SystemClock
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.objects.memory import MemoryStore

BATCH = 200
PAYLOAD_BYTES = 1024
_START_MS = 1_700_000_000_000


class Rate(NamedTuple):
    """One measured row: messages a second of ours and of the bare loop."""

    name: str
    ours: float
    bare: float


def make_messages(count: int, topic: str) -> list[Message]:
    """Make events as the log gives them: JSON values of 1 KiB, text keys, no headers."""
    made = []
    for n in range(count):
        event = {"model": "status", "n": n, "id": hashlib.sha256(str(n).encode()).hexdigest(), "fill": ""}
        event["fill"] = "x" * (PAYLOAD_BYTES - len(json.dumps(event)))
        key = str(event["id"]).encode()
        made.append(Message(topic, n % 8, n // 8, _START_MS + n, key, json.dumps(event).encode()))
    return made


async def json_only(blocks: Sequence[bytes]) -> list[str]:
    """Stand in for libmagic, which the parser process calls and other rows of the benchmarks measure."""
    return ["application/json"] * len(blocks)


def _batches(messages: list[Message]) -> list[list[Message]]:
    return [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]


async def ours(database: Database, objects: MemoryStore, messages: list[Message]) -> float:
    """Store the messages with the archive writer and return messages a second."""
    writer = ArchiveWriter(objects, database, clock=SystemClock(), media_types=json_only)
    started = time.perf_counter()
    for batch in _batches(messages):
        outcomes = await writer.store(batch)
        assert all(outcome.stored for outcome in outcomes)
    return len(messages) / (time.perf_counter() - started)


async def bare(database: Database, messages: list[Message]) -> float:
    """Encode, keep and insert with nothing else and return messages a second."""
    kept: dict[str, bytes] = {}
    started = time.perf_counter()
    for batch in _batches(messages):
        rows = [_bare_row(message, kept) for message in batch]

        async def write(connection: AsyncConnection, rows: list[dict[str, object]] = rows) -> None:
            await connection.execute(insert(tables.messages), rows)

        await database.write("bare insert", write)
    return len(messages) / (time.perf_counter() - started)


def _bare_row(message: Message, kept: dict[str, bytes]) -> dict[str, object]:
    made = uuid.uuid4()
    metadata = {
        "timestamp": message.timestamp_ms,
        "headers": [["_id", made.bytes]],
        "key": message.key,
        "topic": message.topic,
    }
    data = bson.encode({"message": message.value, "metadata": metadata, "annotations": {}})
    key = f"{message.topic}/{made}.bson"
    kept[key] = data
    row = dict.fromkeys(("crc32", "message_crc32"), 0)
    flags = dict.fromkeys(("is_client_uuid", "public", "direct_upload"), False)
    return {
        **row,
        **flags,
        "topic": message.topic,
        "timestamp": message.timestamp_ms,
        "uuid": made,
        "size": len(data),
        "key": key,
        "bucket": "",
    }


@asynccontextmanager
async def _postgres(dsn: str) -> AsyncIterator[str]:
    schema = "bench_" + uuid.uuid4().hex[:12]
    yield f"{dsn}?schema={schema}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


async def measure(name: str, url: str, count: int) -> Rate:
    """Measure one database."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(url, Path(folder))
        await database.open()
        objects = MemoryStore(Path(folder) / "spool")
        await objects.open()
        try:
            await bare(database, make_messages(BATCH, "warm"))
            bare_rate = await bare(database, make_messages(count, "bare"))
            await ours(database, objects, make_messages(BATCH, "warm"))
            return Rate(name, await ours(database, objects, make_messages(count, "ours")), bare_rate)
        finally:
            await objects.close()
            await database.close()


async def measure_all(count: int) -> list[Rate]:
    """Measure SQLite, and PostgreSQL where there is one."""
    rates = [await measure("archive, SQLite and memory", "sqlite:", count)]
    if dsn := os.environ.get("PIPELINE_TEST_POSTGRES"):
        async with _postgres(dsn) as url:
            rates.append(await measure("archive, PostgreSQL and memory", url, count))
    return rates


def main() -> None:
    """Measure and print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--messages", type=int, default=10_000, help="for a database with objects in memory"
    )
    parser.add_argument("--packed", type=int, default=200_000, help="from Kafka, in packs")
    parser.add_argument("--single", type=int, default=10_000, help="from Kafka, as single objects")
    parser.add_argument("--rounds", type=int, default=3, help="of all rows from Kafka; medians are shown")
    parser.add_argument("--memory", type=int, default=0, help="only show memory, over so many in packs")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if chosen.memory:
        for taken, resident_bytes in run_loop(archive_kafka.measure_memory(chosen.memory)):
            print(f"{taken:10,} messages: {resident_bytes / 2**20:6.0f} MiB resident")
        return
    profile = cProfile.Profile()
    if chosen.profile:
        profile.enable()
    rates = run_loop(measure_all(chosen.messages))
    profile.disable()
    rows = run_loop(archive_kafka.measure_servers(chosen.packed, chosen.single, chosen.rounds))
    for name, ours_rate, bare_rate in [*rates, *rows]:
        print(f"{name:60} {ours_rate:10,.0f}/s {bare_rate:10,.0f}/s {ours_rate / bare_rate:6.0%}")
    if chosen.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
