"""What the tests of the Faust transports stand on: a log, its broker URL, and apps that clean up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import faust

from pipeline.clock import SystemClock
from pipeline.log.port import Log, NewRecord, Record, TopicPartition, TopicSpec
from pipeline.log.transport.app import App, create_app, embedded_broker
from pipeline.log.transport.batch import Batch

WAIT_SECONDS = 60


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait for a state; the time limit only ends a test that failed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


class Site:
    """One log with a name of its own on it.

    Args:
        log: An open log, to prepare and to look.
        broker: The same log for Faust.
        name: Unique; prefix of every topic and group.
        folder: For files of the apps.
    """

    def __init__(self, log: Log, broker: str, name: str, folder: Path) -> None:
        self.log = log
        self.broker = broker
        self.name = name
        self.folder = folder
        self.settings: dict[str, Any] = {"broker_commit_interval": 0.1}

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded log."""
        return self.broker.startswith("headrace-embedded")

    async def topic(self, partitions: int = 1, name: str = "in") -> str:
        """Create a topic and return its name."""
        full = f"{self.name}.{name}"
        await self.log.create_topics([TopicSpec(full, partitions)])
        return full

    async def feed(self, topic: str, count: int, *, partition: int = 0, start: int = 0) -> None:
        """Append records with numbers as values, each its own key."""
        await self.log.append(
            [
                NewRecord(topic, b"k%d" % number, b"%d" % number, partition=partition)
                for number in range(start, start + count)
            ]
        )

    async def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """Return the committed offset of a group."""
        place = TopicPartition(topic, partition)
        return (await self.log.committed(group, [place])).get(place)

    async def read_all(self, topic: str, partition: int = 0) -> list[Record]:
        """Return everything a partition holds."""
        place = TopicPartition(topic, partition)
        start, end = (await self.log.bounds([place]))[place]
        reader = self.log.reader({place: start})
        records: list[Record] = []
        try:
            while not records or records[-1].offset + 1 < end:
                found = await reader.read(max_records=10_000, wait_seconds=1)
                if not found:
                    break
                records += found
        finally:
            await reader.close()
        return records

    def group(self, name: str = "group") -> str:
        """Return a group name of this site."""
        return f"{self.name}.{name}"

    def app(self, group: str, *, partitions: int = 1, **settings: Any) -> App:
        """Make an app of ours."""
        return create_app(
            group,
            self.broker,
            data_folder=self.folder,
            partitions=partitions,
            **{**self.settings, **settings},
        )

    def plain_app(self, group: str, *, partitions: int = 1, **settings: Any) -> Any:
        """Make an ordinary Faust app."""
        datadir = self.folder / "plain"
        datadir.mkdir(exist_ok=True)
        return faust.App(
            group,
            broker=self.broker,
            topic_partitions=partitions,
            web_enabled=False,
            datadir=str(datadir),
            **{**self.settings, **settings},
        )


@contextlib.asynccontextmanager
async def running(*apps: Any) -> AsyncIterator[None]:
    """Start apps, and stop them however the block ends."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            for app in apps:
                await app.start()
        yield
    finally:
        async with asyncio.timeout(WAIT_SECONDS):
            for app in reversed(apps):
                await app.stop()


@contextlib.asynccontextmanager
async def embedded_site(folder: Path, name: str) -> AsyncIterator[Site]:
    """Give a site on an embedded log."""
    from pipeline.log.embedded.log import shared

    log = shared(folder / "log", SystemClock())
    await log.open()
    try:
        yield Site(log, embedded_broker(folder / "log"), name, folder)
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def kafka_site(address: str, folder: Path, name: str) -> AsyncIterator[Site]:
    """Give a site on the real Kafka."""
    from pipeline.log.connection import KafkaConnection
    from pipeline.log.kafka import KafkaLog

    log = KafkaLog(KafkaConnection(bootstrap_servers=(address,)))
    await log.open()
    try:
        site = Site(log, f"headrace-kafka://{address}", name, folder)
        site.settings.update(broker_session_timeout=6.0, broker_heartbeat_interval=0.5)
        yield site
    finally:
        await log.close()


def numbers(records: Sequence[Record]) -> list[int]:
    """Return the values `Site.feed` wrote."""
    return [int(record.value or b"-1") for record in records]


class Taken:
    """What an agent was handed, kept for the test to acknowledge."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]


def taking(app: Any, *topics: str, acknowledge: bool = False, max_records: int = 500) -> Taken:
    """Give an app an agent that keeps everything, acknowledging or not."""
    taken = Taken()

    async def take(stream: Any) -> None:
        async for batch in stream.batches(max_records=max_records):
            taken.batches.append(batch)
            if acknowledge:
                batch.acknowledge()

    app.agent(app.source(*topics), name="take")(take)
    return taken
