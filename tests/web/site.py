"""A Headrace of our own in a folder, served over HTTP, for tests of the web surface. No agents run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from pipeline.app import Parts, make_parts, open_parts
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import Clock
from pipeline.events.codec import decode_stored
from pipeline.events.parked import ParkedEntry, entry_id
from pipeline.events.topics import model_of_topic
from pipeline.hub.changelogs import IN_FLIGHT, PARKED, TABLES, changelog_topic
from pipeline.hub.tasks import State, Task
from pipeline.index.documents import documents_of
from pipeline.log.port import NewRecord, Record, TopicPartition, TopicSpec
from pipeline.objects.keys import parked_key
from pipeline.settings import load
from pipeline.web.server import serve

PREFIX = "test01"
PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""Headers of a browser that opens a page."""
SOURCED = f"azul.{PREFIX}.testing.binary.sourced"


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Site:
    """A served installation and a client of it."""

    url: str
    folder: Path
    parts: Parts
    client: aiohttp.ClientSession

    @property
    def prefix(self) -> str:
        """The topic prefix of this installation."""
        return self.parts.settings.events.prefix

    async def sourced(self) -> list[Record]:
        """Return the records of every sourced event."""
        topics = [f"azul.{self.prefix}.{name}.binary.sourced" for name in ("testing", "scan")]
        return [record for topic in topics for record in await self.records(topic)]

    async def json(self, path: str, *, status: int = 200, method: str = "GET", **how: Any) -> Any:
        """Request a path, check the status, and return the JSON of the answer."""
        async with self.client.request(method, self.url + path, **how) as response:
            text = await response.text()
            assert response.status == status, text
            return msgspec.json.decode(text)

    async def submit(self, data: bytes, **query: str) -> Any:
        """Submit bytes and return the answer."""
        return await self.json("/api/objects", method="POST", status=201, data=data, params=query)

    async def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """Send bytes over a connection of their own and return all that comes back until it is closed."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            await writer.drain()
            if end:
                writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def records(self, topic: str) -> list[Record]:
        """Return everything a topic of one partition holds."""
        place = TopicPartition(topic, 0)
        bounds = (await self.parts.log.bounds([place]))[place]
        reader = self.parts.log.reader({place: bounds.start})
        found: list[Record] = []
        try:
            while reader.positions()[place] < bounds.end:
                found += await reader.read(max_records=1000, wait_seconds=5)
        finally:
            await reader.close()
        return found

    async def index_events(self) -> None:
        """Put the documents of every sourced event, as agent `index` would."""
        for record in await self.sourced():
            event = decode_stored(model_of_topic(record.topic), record.value)
            assert event is not None
            refused = await self.parts.index.put(
                documents_of(event, sources=self.parts.sources, default_security="")
            )
            assert not refused
        await self.parts.index.refresh()

    async def archive_events(self) -> None:
        """Archive every sourced event, as agent `archive` would."""
        await self.archive([Message.of(record) for record in await self.sourced()])

    async def archive(self, messages: Sequence[Message], *, public: bool = True) -> None:
        """Archive messages of topics that are public or not."""
        parts = self.parts
        writer = ArchiveWriter(
            parts.archived,
            parts.database,
            clock=parts.clock,
            media_types=_json,
            public=lambda _topic: public,
        )
        outcomes = await writer.store(messages)
        assert all(outcome.stored for outcome in outcomes)

    async def stored_keys(self) -> list[str]:
        """Return the key of every object in the store."""
        return sorted([stat.key async for stat in self.parts.objects.list("")])

    async def make_tables(self) -> None:
        """Create the changelogs of the tables, as agent `track` would."""
        compact = {"cleanup.policy": "compact"}
        specs = [TopicSpec(changelog_topic(self.prefix, table), 1, 1, compact) for table in TABLES]
        await self.parts.log.create_topics(specs)

    async def put_tasks(self, tasks: Iterable[Task]) -> None:
        """Write tasks to the table, as agent `track` would."""
        topic = changelog_topic(self.prefix, IN_FLIGHT)
        rows = [(task.dequeued.encode(), msgspec.json.encode(task)) for task in tasks]
        await self.parts.log.append([NewRecord(topic, key, value) for key, value in rows])

    async def forget_task(self, task: Task) -> None:
        """Remove a task from the table, as agent `track` would."""
        topic = changelog_topic(self.prefix, IN_FLIGHT)
        await self.parts.log.append([NewRecord(topic, task.dequeued.encode(), None)])

    async def park(self, record: Record, reason: str) -> ParkedEntry:
        """Put a record aside, as an agent would."""
        name = entry_id("index", record.topic, record.partition, record.offset)
        await self.parts.objects.put(parked_key(name), record.value or b"")
        entry = ParkedEntry(
            id=name,
            agent="index",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            headers=record.headers,
            reason="EventCorrupt",
            error=reason,
            object_key=parked_key(name),
            size_bytes=len(record.value or b""),
            parked_at=self.parts.clock.unix() + record.offset,
        )
        row = NewRecord(changelog_topic(self.prefix, PARKED), name.encode(), entry.encode())
        await self.parts.log.append([row])
        return entry


async def _json(blocks: Sequence[bytes]) -> list[str]:
    return ["application/json"] * len(blocks)


def task(number: int, *, state: State = "running", plugin: str = "entropy", due: float = 0.0) -> Task:
    """Make a task in flight about a file whose hash is all one digit."""
    key = f"{number:032x}"
    name = f"{key}.{plugin}.1.0.1767225600"
    event = msgspec.json.encode({"kafka_key": key, "entity": {"sha256": f"{number % 10}" * 64}})
    return Task(
        dequeued=name,
        task=f"{key}.{plugin}.1.0",
        plugin=plugin,
        version="1.0",
        state=state,
        attempt=0,
        taken=1767225600.0,
        heard=1767225600.0,
        due=due or 1767225600.0 + number,
        event=msgspec.Raw(event),
        offset=number,
    )


@asynccontextmanager
async def opened(folder: Path, clock: Clock | None = None, **sections: Any) -> AsyncIterator[Site]:
    """Serve a new installation in a folder; `sections` override settings."""
    settings = load(
        {"data": str(folder), **sections}, environment={"XDG_CONFIG_HOME": str(folder)}
    ).settings
    async with (
        open_parts(make_parts(settings, clock)) as parts,
        serve(parts, "127.0.0.1:0") as url,
        aiohttp.ClientSession() as client,
    ):
        yield Site(url, folder, parts, client)
