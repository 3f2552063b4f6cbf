"""A Headrace of our own in a folder, its agents running, for tests of agents through topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

from agents.run import Agents, running
from pipeline.app import Parts, make_parts, open_parts
from pipeline.events.parked import ParkedEntry, decode_parked
from pipeline.events.topics import PARKED, system_topic
from pipeline.log.port import Record, TopicPartition
from pipeline.settings import AgentName, Settings, load

PATIENCE_SECONDS = 60.0
"""How long a state may take to come about before the test gives up; never how long one is waited for."""
AGENTS: tuple[str, ...] = get_args(AgentName)
"""All of them."""
_ID_LENGTH = 32


def settings_in(folder: Path, agents: Sequence[str], **sections: dict[str, Any]) -> Settings:
    """Make settings for the embedded parts in a folder, untouched by the environment."""
    overrides = {"data": str(folder), "worker": {"agents": list(agents), "stats_listen": ""}, **sections}
    return load(overrides, environment={"XDG_CONFIG_HOME": str(folder)}).settings


@asynccontextmanager
async def installation(settings: Settings) -> AsyncIterator[tuple[Parts, Agents]]:
    """Open the parts and run the agents until the block is left."""
    async with open_parts(make_parts(settings)) as parts, running(parts) as agents:
        yield parts, agents


async def until(state: Callable[[], Awaitable[bool]]) -> None:
    """Return when the state has come about."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await state():  # noqa: ASYNC110 - the state is in another process or on disk
            await asyncio.sleep(0.02)


async def settled(agents: Agents) -> None:
    """Return when the agents have nothing left to do."""
    await until(lambda: _empty(agents))


async def _empty(agents: Agents) -> bool:
    # Twice, because the agents are asked one after the other and some feed those asked before them.
    return await agents.backlog() == 0 and await agents.backlog() == 0


async def records_of(parts: Parts, topic: str) -> list[Record]:
    """Read all a topic holds now."""
    count = (await parts.log.topics())[topic]
    bounds = await parts.log.bounds([TopicPartition(topic, number) for number in range(count)])
    wanted = sum(bound.end - bound.start for bound in bounds.values())
    reader = parts.log.reader({place: bound.start for place, bound in bounds.items()})
    found: list[Record] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < wanted:
                more = await reader.read(max_records=1000, wait_seconds=0.2)
                found += more
                if not more and any(bound.end > 0 for bound in bounds.values()):
                    break  # a compacted topic has fewer records than offsets
    finally:
        await reader.close()
    return found


async def parked_entries(parts: Parts) -> list[ParkedEntry]:
    """Return every parked entry, as it was last. What stands there under no entry's id is left out."""
    topic = system_topic(parts.settings.events.prefix, PARKED)
    newest = {record.key: record.value for record in await records_of(parts, topic)}
    return [
        decode_parked(value) for key, value in newest.items() if len(key or b"") == _ID_LENGTH and value
    ]
