"""What tests of the archive's agent stand on: settings, messages on topics, and a look at the rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agents.run import Agents, running
from pipeline.app import Parts, make_parts, open_parts
from pipeline.archive.attendant import Attendant
from pipeline.database import tables
from pipeline.log.port import Log, NewRecord, TopicPartition
from pipeline.settings import Settings, load
from tests.agents.installation import until

REFRESH_SECONDS = 0.2
SESSION_SECONDS = 6.0
"""The shortest a Kafka broker accepts unless told otherwise."""
Places = Counter[tuple[int, int]]
"""Partition and offset of each message, and how often it is there."""


def archive_settings(folder: Path, unique: str, log: str = "embedded:", **archive: Any) -> Settings:
    """Make settings of an archive in a folder, which looks for topics all the time."""
    chosen = {"topics": [f"{unique}.*"], "refresh_seconds": REFRESH_SECONDS, **archive}
    overrides = {
        "data": str(folder),
        "log": log,
        "events": {"prefix": unique},
        "kafka": {"session_seconds": SESSION_SECONDS},
        "worker": {"agents": ["archive"], "stats_listen": "", "listen": ""},
        "parser": {"processes": 1},
        "archive": {"pack_seconds": 0.2, **chosen},
    }
    return load(overrides, environment={"XDG_CONFIG_HOME": str(folder)}).settings


@asynccontextmanager
async def archiving(
    settings: Settings, attendant: Attendant | None = None
) -> AsyncIterator[tuple[Parts, Agents]]:
    """Open the parts and archive until the block is left."""
    async with open_parts(make_parts(settings)) as parts, running(parts, attendant=attendant) as agents:
        yield parts, agents


async def feed(log: Log, topic: str, count: int, *, partition: int = 0) -> None:
    """Append messages to a partition; JSON, which the parser process need not look at."""
    await log.append(
        [NewRecord(topic, None, b'{"message": %d}' % n, partition=partition) for n in range(count)]
    )


async def archived(parts: Parts, topic: str) -> Places:
    """Give where the archived messages of a topic stood."""
    row = tables.messages.c
    query = select(row.kafka_partition, row.kafka_offset).where(row.topic == topic)

    async def ask(connection: AsyncConnection) -> Places:
        return Counter((partition, offset) for partition, offset in await connection.execute(query))

    return await parts.database.read("test", ask)


def places(*counts: int) -> Places:
    """Give the places of so many messages in partition 0, 1, …, each once."""
    return Counter((partition, n) for partition, count in enumerate(counts) for n in range(count))


async def until_archived(parts: Parts, topic: str, *counts: int) -> None:
    """Return when so many messages of each partition are archived; fail when one is there twice."""

    async def there() -> bool:
        found = await archived(parts, topic)
        assert not found - places(*counts), found - places(*counts)
        return found == places(*counts)

    await until(there)


async def committed(log: Log, group: str, topic: str, partitions: int = 1) -> Sequence[int]:
    """Give the committed offset of each partition, 0 where there is none."""
    wanted = [TopicPartition(topic, n) for n in range(partitions)]
    found = await log.committed(group, wanted)
    return [found.get(place, 0) for place in wanted]


async def passes(seconds: float) -> None:
    """Let time pass in which something must not happen."""
    await asyncio.sleep(seconds)
