"""An archive on servers of our own: workers that get killed, and a look at topics, rows and objects."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.app import Parts, make_parts, open_parts
from pipeline.database import tables
from pipeline.hub.changelogs import app_id
from pipeline.log.port import Log, NewRecord, Record, TopicPartition, TopicSpec
from pipeline.settings import load
from tests.processes import Process, environment, run, write_settings
from tests.services.lab import SESSION_SECONDS, Servers
from tests.stores import s3_url

APPENDED = 2000
"""Records appended in one call."""
READ_SECONDS = 120.0


class ArchiveLab:
    """One installation of which only the archive runs.

    Args:
        servers: Where its parts are.
        unique: A name nothing else on them has; the topics of its messages begin so.
        folder: For settings, logs and data of the processes.
        topics: How many topics there are; every second one is kept in packs.
        partitions: Of each.
    """

    def __init__(
        self, servers: Servers, unique: str, folder: Path, *, topics: int = 20, partitions: int = 2
    ) -> None:
        self._folder = folder
        self._kafka = servers.kafka
        self.topics = [f"{unique}.alerts.{number}" for number in range(topics)]
        self.partitions = partitions
        given: dict[str, Any] = {
            "data": str(folder / "data"),
            "log": f"kafka://{servers.kafka}",
            "objects": s3_url(servers.s3, unique),
            "database": f"{servers.postgres}?schema={unique}",
            "index": "sqlite:",
            "kafka": {"session_seconds": SESSION_SECONDS},
            "events": {"prefix": unique},
            "worker": {"stats_listen": "", "listen": "", "agents": ["archive"]},
            "archive": {
                "topics": [f"{unique}.alerts.*"],
                "layouts": dict.fromkeys(self.topics[::2], "packs"),
                "pack_records": 1000,
                "pack_seconds": 1.0,
                "refresh_seconds": 2.0,
            },
        }
        self._environment = environment(folder)
        self._config = write_settings(folder / "headrace.toml", given)
        self.settings = load(given, environment={"XDG_CONFIG_HOME": str(folder)}).settings

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """Open the parts in this process, to publish and to look."""
        async with open_parts(make_parts(self.settings)) as parts:
            yield parts

    def worker(self, name: str) -> Process:
        """Start a worker; the caller ends it."""
        return Process(
            ["--config", str(self._config), "worker", "--data", str(self._folder / name)],
            log=self._folder / f"{name}.log",
            environment=self._environment,
        )

    async def command(self, *words: str, status: int = 0) -> Any:
        """Run `headrace archive …` to its end, check its exit code and return the last JSON it prints."""
        done = await asyncio.to_thread(
            run,
            ["--config", str(self._config), "archive", *words, "--json"],
            environment=self._environment,
            timeout_seconds=1200.0,
        )
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def told(self) -> str:
        """Return the ends of the logs of all workers, for the report of a failure."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    async def make_topics(self, log: Log, names: Iterable[str]) -> None:
        """Create topics of messages, which are old and must stay all the same."""
        keeping = {"retention.ms": "-1"}
        await log.create_topics([TopicSpec(name, self.partitions, config=keeping) for name in names])

    async def remove_topics(self, names: list[str]) -> None:
        """Remove topics from the broker."""
        client = AIOKafkaAdminClient(bootstrap_servers=self._kafka)
        await client.start()
        try:
            await client.delete_topics(names)
        finally:
            await client.close()

    def places(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Give the partitions of some topics."""
        return [TopicPartition(name, number) for name in topics for number in range(self.partitions)]

    async def ends(self, log: Log) -> dict[TopicPartition, int]:
        """Give where each partition of messages ends."""
        return {place: there.end for place, there in (await log.bounds(self.places(self.topics))).items()}

    async def unread(self, log: Log) -> int:
        """Count the messages no worker has acknowledged."""
        ends = await self.ends(log)
        group = app_id(self.settings.events.prefix, "archive")
        done = await log.committed(group, list(ends))
        return sum(end - done.get(place, 0) for place, end in ends.items())

    async def rewind(self, log: Log) -> None:
        """Have the workers read everything again."""
        group = app_id(self.settings.events.prefix, "archive")
        await log.commit(group, dict.fromkeys(self.places(self.topics), 0))


async def append(log: Log, records: Iterable[NewRecord]) -> int:
    """Append records in order, many at once; return how many."""
    count = 0
    waiting: list[NewRecord] = []
    for record in records:
        waiting.append(record)
        if len(waiting) == APPENDED:
            count += len(await log.append(waiting))
            waiting = []
    return count + len(await log.append(waiting)) if waiting else count


async def whole(log: Log, place: TopicPartition) -> list[Record]:
    """Read everything a partition holds."""
    bounds = (await log.bounds([place]))[place]
    reader = log.reader({place: bounds.start})
    found: list[Record] = []
    try:
        async with asyncio.timeout(READ_SECONDS):
            while reader.positions()[place] < bounds.end:
                found += await reader.read(max_records=5000, wait_seconds=1.0)
    finally:
        await reader.close()
    return found


async def rows(parts: Parts) -> Counter[tuple[str, int, int]]:
    """Count the rows of each place."""
    columns = tables.messages.c
    query = select(columns.topic, columns.kafka_partition, columns.kafka_offset)

    async def ask(connection: AsyncConnection) -> Counter[tuple[str, int, int]]:
        return Counter(tuple(row) for row in await connection.execute(query))

    return await parts.database.read("test", ask)


async def statistics(parts: Parts) -> Mapping[str, int]:
    """Give the number of messages by topic, as the table of statistics has it."""

    async def ask(connection: AsyncConnection) -> Mapping[str, int]:
        found = await connection.execute(select(tables.topics.c.topic, tables.topics.c.n_messages))
        return {row.topic: row.n_messages for row in found}

    return await parts.database.read("test", ask)


async def count(parts: Parts) -> int:
    """Count all rows."""

    async def ask(connection: AsyncConnection) -> int:
        return int(
            (await connection.execute(select(func.count()).select_from(tables.messages))).scalar_one()
        )

    return await parts.database.read("test", ask)
