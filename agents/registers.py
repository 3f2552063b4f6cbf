"""registers: the last word about each plugin and about each parked entry; part of the app of `track`.

Reads: plugin registrations; parked entries.
Writes: the tables plugins and parked.
Acknowledges: a batch when its table changes are durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import faust
import msgspec

from pipeline.app import Parts
from pipeline.errors import Conflict
from pipeline.events.parked import ParkedEntry, decode_parked
from pipeline.events.topics import PARKED, system_topic
from pipeline.hub.retries import plugin_of
from pipeline.log.port import Record
from pipeline.log.transport.app import App
from pipeline.log.transport.batch import Batch
from pipeline.processing import readable
from tables import parked, plugins
from tables.typed import TypedTable

NAME = "track"
PLUGIN = "plugin"
V = TypeVar("V", bound=msgspec.Struct)


def topics(parts: Parts) -> list[str]:
    """Name the topics these agents read."""
    return [system_topic(parts.settings.events.prefix, name) for name in (PLUGIN, PARKED)]


def attach(app: App, parts: Parts) -> None:
    """Add the agents and their tables to the app."""
    plugin_topic, parked_topic = (app.source(name) for name in topics(parts))
    registered, put_aside = plugins.attach(app), parked.attach(app)

    @app.agent(plugin_topic, name=f"{NAME}.plugins")
    async def follow_plugins(stream: faust.StreamT) -> None:
        async for batch in stream.batches():
            told = await readable(parts, NAME, batch.records, lambda r: plugin_of(r.value))
            names = [f"{plugin.entity.name}.{plugin.entity.version}" for _, plugin in told]
            await _keep(registered, batch, zip(names, (plugin for _, plugin in told), strict=True))

    @app.agent(parked_topic, name=f"{NAME}.parked")
    async def follow_parked(stream: faust.StreamT) -> None:
        async for batch in stream.batches():
            told = await readable(parts, NAME, batch.records, _entry)
            await _keep(put_aside, batch, [_last_word(record, entry) for record, entry in told])


async def _keep(table: TypedTable[V], batch: Batch, words: Iterable[tuple[str, V | None]]) -> None:
    """Write what a batch says of each key; None removes it."""
    try:
        for key, value in words:
            if value is None:
                table.remove(key, partition=batch.partition)
            else:
                table.put(key, value, partition=batch.partition)
    except Conflict:
        return  # the partition has moved: its records come again where it is now
    await table.flushed()
    batch.acknowledge()


def _last_word(record: Record, entry: ParkedEntry | None) -> tuple[str, ParkedEntry | None]:
    """Say what a record of the parked topic leaves of its entry."""
    if entry is None:
        return (record.key or b"").decode(errors="replace"), None
    return entry.id, entry if entry.state == "parked" else None


def _entry(record: Record) -> ParkedEntry | None:
    """Read an entry; None when somebody removed it from the topic."""
    return None if record.value is None else decode_parked(record.value)
