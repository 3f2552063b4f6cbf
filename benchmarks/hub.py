"""Events a second published over HTTP, beside the bare loop: decode and write, in the same run.

    python -m benchmarks.hub [--seconds S]

Binary events of 1 and 3 KiB in posts of 1, 100 and 1,000, eight clients at a time, to a service in a
process of its own: on the embedded log, and on Kafka when PIPELINE_TEST_KAFKA names one. The bare loop
decodes the same bodies with msgspec into the same structs, eight at a time, and appends the same bytes to
an embedded log, or gives them to aiokafka's producer, in batches as large as ours. Both end when everything
is durable; the best of three rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
import uvloop
from aiokafka import AIOKafkaProducer

from benchmarks.events import make_event
from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.events.models import BinaryEvent
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import NewRecord, TopicSpec
from pipeline.web import presence

SIZES = (1024, 3 * 1024)
POSTS = (1, 100, 1000)
CLIENTS = 8
ROUNDS = 3
TOPIC = f"bare-{uuid.uuid4().hex[:8]}"
_START_SECONDS = 60.0


class Rate(NamedTuple):
    """One measured row: events a second of ours and of the bare loop."""

    name: str
    ours: float
    bare: float


async def _rounds(act: Callable[[], Awaitable[None]], events: int, seconds: float) -> float:
    """Return the events a second of the best round; in a round eight callers repeat `act`."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        done = 0

        async def caller(until: float) -> int:
            calls = 0
            while time.perf_counter() < until:
                await act()
                calls += 1
            return calls

        done = sum(await asyncio.gather(*(caller(started + seconds / ROUNDS) for _ in range(CLIENTS))))
        best = max(best, done * events / (time.perf_counter() - started))
    return best


@contextlib.asynccontextmanager
async def served(folder: Path, log: str, prefix: str) -> AsyncIterator[str]:
    """Run `headrace api` on a log in a process of its own; give its URL."""
    options = ["-s", f"log={log}", "-s", f"events.prefix={prefix}"]
    command = [str(Path(sys.executable).with_name("headrace")), *options, "api"]
    process = await asyncio.create_subprocess_exec(
        *command, "--data", str(folder), "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield await asyncio.wait_for(_listening(folder), _START_SECONDS)
    finally:
        process.terminate()
        await process.wait()


async def _listening(folder: Path) -> str:
    while True:
        note = await asyncio.to_thread(presence.find, folder)
        if note is not None:
            return note.url
        await asyncio.sleep(0.05)


async def ours(url: str, body: bytes, events: int, seconds: float) -> float:
    """Measure posts to the service."""
    async with aiohttp.ClientSession() as client:

        async def post() -> None:
            async with client.post(
                f"{url}/api/v2/event", params={"model": "binary"}, data=body
            ) as response:
                assert response.status == 200, await response.text()

        await post()
        return await _rounds(post, events, seconds)


Write = Callable[[bytes, int], Awaitable[object]]
"""Writes that many records with the same value; they are durable when it returns."""


async def bare(write: Write, body: bytes, event: bytes, events: int, seconds: float) -> float:
    """Measure decoding the same body and writing the same bytes."""
    decoder = msgspec.json.Decoder(list[BinaryEvent])

    async def act() -> None:
        decoder.decode(body)
        await write(event, events)

    return await _rounds(act, events, seconds)


async def measure(name: str, url: str, write: Write, seconds: float) -> list[Rate]:
    """Measure every size and post on one log."""
    rates = []
    for size in SIZES:
        event = make_event(size)
        for events in POSTS:
            body = b"[" + b",".join([event] * events) + b"]"
            row = f"{name}: publish, {size // 1024} KiB, {events:,} a post"
            mine = await ours(url, body, events, seconds)
            rates.append(Rate(row, mine, await bare(write, body, event, events, seconds)))
    return rates


async def measure_embedded(seconds: float) -> list[Rate]:
    """Measure on the embedded log."""
    with tempfile.TemporaryDirectory() as temporary:
        log = EmbeddedLog(Path(temporary, "bare"), SystemClock())
        await log.open()
        await log.create_topics([TopicSpec(TOPIC)])

        async def write(event: bytes, events: int) -> None:
            await log.append([NewRecord(TOPIC, b"key", event)] * events)

        async with served(Path(temporary, "data"), "embedded:", "bench") as url:
            rates = await measure("embedded", url, write, seconds)
        await log.close()
    return rates


async def measure_kafka(seconds: float, address: str) -> list[Rate]:
    """Measure on the real Kafka."""
    connection = KafkaConnection(bootstrap_servers=(address,))
    log = KafkaLog(connection)
    await log.open()
    await log.create_topics([TopicSpec(TOPIC)])
    await log.close()
    producer = AIOKafkaProducer(
        **client_arguments(connection),
        acks="all",
        enable_idempotence=True,
        max_batch_size=limits.KAFKA_BATCH_BYTES,
        max_request_size=limits.KAFKA_MESSAGE_MAX_BYTES,
    )
    await producer.start()

    async def write(event: bytes, events: int) -> None:
        await asyncio.gather(*[await producer.send(TOPIC, event, b"key") for _ in range(events)])

    with tempfile.TemporaryDirectory() as temporary:
        async with served(Path(temporary), f"kafka://{address}", f"b{uuid.uuid4().hex[:8]}") as url:
            rates = await measure("kafka", url, write, seconds)
    await producer.stop()
    return rates


async def _all(seconds: float) -> list[Rate]:
    rates = await measure_embedded(seconds)
    address = os.environ.get("PIPELINE_TEST_KAFKA")
    return rates + (await measure_kafka(seconds, address) if address else [])


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="for each figure")
    for rate in uvloop.run(_all(parser.parse_args().seconds)):
        ratio = rate.ours / rate.bare
        print(f"{rate.name:<42} {rate.ours:>9,.0f}/s   bare {rate.bare:>9,.0f}/s   {ratio:.2f}")


if __name__ == "__main__":
    main()
