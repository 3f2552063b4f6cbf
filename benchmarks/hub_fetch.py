"""Events a second fetched over HTTP, beside the bare loop: read and decode, in the same run.

    python -m benchmarks.hub_fetch [--events N]

Binary events of 1 and 3 KiB, fetched from the beginning by passive consumers in answers of 1, 100 and
1,000, from a service in a process of its own: on the embedded log, and on Kafka when PIPELINE_TEST_KAFKA
names one. The bare loop reads the same records (aiokafka's `getmany`, or a reader of the embedded log) and
decodes each into the event's struct.

Then the cost of more plugins: the processor time the service spends until 1, 10 and 100 plugins, each with
a filter that lets one event in a hundred through, have gone through the same events; and the memory it has
with 200 consumers registered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from benchmarks.events import make_event
from benchmarks.hub import Rate, served
from pipeline.clock import SystemClock
from pipeline.events.models import BinaryEvent
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, TopicPartition, TopicSpec
from pipeline.web import presence

SIZES = (1024, 3 * 1024)
ANSWERS = (1, 100, 1000)
PLUGINS = (1, 10, 100)
REGISTERED = 200
ROUNDS = 2
KINDS = 100
"""Different file formats among the events, and plugins that want one of them each."""
_DECODER = msgspec.json.Decoder(BinaryEvent)
_STREAM_BYTES = 150
"""What the stream adds to an event."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Service(NamedTuple):
    """A running service."""

    url: str
    pid: int
    client: aiohttp.ClientSession

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        """Return the memory it has."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    async def publish(self, events: list[bytes]) -> None:
        """Publish events."""
        for first in range(0, len(events), 1000):
            body = b"[" + b",".join(events[first : first + 1000]) + b"]"
            async with self.client.post(
                f"{self.url}/api/v2/event", params={"model": "binary"}, data=body
            ) as response:
                assert response.status == 200, await response.text()

    async def fetch(self, **query: Any) -> int:
        """Fetch once; return how many events came."""
        query = {"name": "bench", "version": "1", "r-historic": "true", "deadline": "0", **query}
        async with self.client.get(f"{self.url}/api/v2/event/binary/passive", params=query) as response:
            body = await response.read()
            assert response.status == 200, body
        info = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n", 1)[0]
        return int(msgspec.json.decode(info)["fetched"])

    async def fetch_all(self, **query: Any) -> int:
        """Fetch until there is nothing more; return how many events came."""
        total = 0
        while count := await self.fetch(**query):
            total += count
        return total


@contextlib.asynccontextmanager
async def service(log: str, folder: Path, prefix: str) -> AsyncIterator[Service]:
    """Run `headrace api` on a log."""
    async with served(folder, log, prefix) as url, aiohttp.ClientSession() as client:
        note = presence.find(folder)
        assert note is not None
        yield Service(url, note.pid, client)


def event_of_kind(size: int, kind: int) -> bytes:
    """Make an event of one of the kinds."""
    event = msgspec.json.decode(make_event(size - _STREAM_BYTES))
    sha256 = uuid.uuid4().hex * 2
    stream = {"label": "content", "size": 4096, "sha256": sha256, "file_format": f"kind/{kind:03}"}
    event["entity"] |= {"sha256": sha256, "datastreams": [stream]}
    event["action"] = event["source"]["path"][-1]["action"] = "extracted"
    event["source"]["path"][-1]["sha256"] = sha256
    return msgspec.json.encode(event)


async def bare_embedded(events: list[bytes]) -> float:
    """Return events a second of reading and decoding from an embedded log."""
    with tempfile.TemporaryDirectory() as temporary:
        log = EmbeddedLog(Path(temporary), SystemClock())
        await log.open()
        rate = await _bare(log, events)
        await log.close()
    return rate


async def _bare(log: Log, events: list[bytes]) -> float:
    topic = f"bare-{uuid.uuid4().hex[:8]}"
    await log.create_topics([TopicSpec(topic)])
    for first in range(0, len(events), 1000):
        await log.append([NewRecord(topic, b"key", event) for event in events[first : first + 1000]])
    best = 0.0
    for _ in range(3):
        reader = log.reader({TopicPartition(topic, 0): 0})
        started = time.perf_counter()
        left = len(events)
        while left:
            records = await reader.read(max_records=1000, wait_seconds=5)
            for record in records:
                _DECODER.decode(record.value or b"")
            left -= len(records)
        best = max(best, len(events) / (time.perf_counter() - started))
        await reader.close()
    return best


async def bare_kafka(address: str, events: list[bytes]) -> float:
    """Return events a second of aiokafka's `getmany` and decoding."""
    connection = KafkaConnection(bootstrap_servers=(address,))
    log = KafkaLog(connection)
    await log.open()
    topic = f"bare-{uuid.uuid4().hex[:8]}"
    await log.create_topics([TopicSpec(topic)])
    for first in range(0, len(events), 1000):
        await log.append([NewRecord(topic, b"key", event) for event in events[first : first + 1000]])
    best = 0.0
    for _ in range(3):
        consumer = AIOKafkaConsumer(**client_arguments(connection))
        await consumer.start()
        place = KafkaPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        started = time.perf_counter()
        left = len(events)
        while left:
            found = await consumer.getmany(timeout_ms=5000, max_records=1000)
            for records in found.values():
                for record in records:
                    _DECODER.decode(record.value)
                left -= len(records)
        best = max(best, len(events) / (time.perf_counter() - started))
        await consumer.stop()
    await log.close()
    return best


async def measure_fetch(name: str, log: str, count: int) -> list[Rate]:
    """Measure every size and answer on one log; each pass by a service that has read nothing yet."""
    rates = []
    address = log.removeprefix("kafka://") if log.startswith("kafka:") else None
    for size in SIZES:
        events = [event_of_kind(size, number % KINDS) for number in range(count)]
        bare = await (bare_kafka(address, events) if address else bare_embedded(events))
        prefix = f"b{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory() as folder:
            async with service(log, Path(folder), prefix) as there:
                await there.publish(events)
            for answer in ANSWERS:
                ours = 0.0
                for number in range(ROUNDS):
                    async with service(log, Path(folder), prefix) as there:
                        ours = max(ours, await _pass(there, f"r{answer}-{number}", answer, count))
                rates.append(Rate(f"{name}: fetch, {size // 1024} KiB, {answer:,} an answer", ours, bare))
    return rates


async def _pass(there: Service, consumer: str, answer: int, count: int) -> float:
    """Return events a second of one consumer; its position is made before."""
    await there.fetch(name=consumer, count="1")
    wanted = min(count, answer * 400) - 1
    got, started = 0, time.perf_counter()
    while got < wanted:
        got += await there.fetch(name=consumer, count=str(answer))
    return got / (time.perf_counter() - started)


async def measure_plugins(name: str, log: str, count: int) -> None:
    """Print what the service spends as plugins grow, from the first event read on; then its memory."""
    prefix = f"b{uuid.uuid4().hex[:8]}"
    events = [event_of_kind(1024, number % KINDS) for number in range(count)]
    one = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        async with service(log, Path(temporary), prefix) as there:
            await there.publish(events)
        for plugins in PLUGINS:
            async with service(log, Path(temporary), prefix) as there:
                await there.fetch(name="warm", count="1", **{"r-source": "scan"})
                before = there.cpu_seconds()
                kinds = [f"*,kind/{number:03}" for number in range(plugins)]
                got = await asyncio.gather(
                    *(
                        there.fetch_all(
                            name=f"p{plugins}", version=kind[-3:], count="1000", **{"r-streams": kind}
                        )
                        for kind in kinds
                    )
                )
                assert sum(got) == plugins * count // KINDS, sum(got)
                spent = there.cpu_seconds() - before
                one = one or spent
                row = f"{name}: {plugins} plugins over {count:,} events"
                print(f"{row:<42} {spent:>6.2f} s of processor, {spent / one:.2f} times one plugin")
        async with service(log, Path(temporary), prefix) as there:
            before_bytes = there.resident_bytes()
            for number in range(REGISTERED):
                await there.fetch(name=f"m{number}", count="1")
            after_bytes = there.resident_bytes()
            row = f"{name}: memory with {REGISTERED} consumers"
            print(f"{row:<42} {after_bytes / 2**20:>6,.0f} MiB, {before_bytes / 2**20:,.0f} MiB without")


async def _all(count: int) -> None:
    logs = {"embedded": "embedded:"}
    if address := os.environ.get("PIPELINE_TEST_KAFKA"):
        logs["kafka"] = f"kafka://{address}"
    for name, log in logs.items():
        for rate in await measure_fetch(name, log, count):
            ratio = rate.ours / rate.bare
            print(f"{rate.name:<42} {rate.ours:>9,.0f}/s   bare {rate.bare:>9,.0f}/s   {ratio:.2f}")
        await measure_plugins(name, log, 5 * count)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000, help="on the log")
    uvloop.run(_all(parser.parse_args().events))


if __name__ == "__main__":
    main()
