r"""Run this plugin over this file, list the events.

    from headrace import testing

    outcome = testing.run(plugin, b"one\ntwo\n")
    assert outcome.features == {"lines": ["2"]}

The runner that runs plugins in earnest takes the file from a hub in this process (`headrace.memory`), which
accepts and refuses what the real one does. Needs no network, no server and no settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headrace.hub import StreamName
from headrace.memory import MemoryHub
from headrace.plugin import Plugin
from headrace.runner import Runner
from pipeline.clock import Clock, SystemClock
from pipeline.events.binary import BinaryEvent
from pipeline.events.names import AUGMENTED, CONTENT, ENRICHED, EXTRACTED
from pipeline.events.status import StatusEvent


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    status: str = ""
    """How the task ended: `completed`, `completed-empty`, `opt-out`, `error-exception` …"""
    error: str = ""
    """What went wrong, in one line."""
    message: str = ""
    """The same at length: a traceback, the reason of an opt-out."""
    refused: str = ""
    """Why the plugin was not handed the file; there is no status then."""
    events: tuple[BinaryEvent, ...] = ()
    """The events it produced, complete with key and tracking fields."""
    features: Mapping[str, list[str]] = field(default_factory=dict)
    """What it said about the file, by feature."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What else it said about the file."""
    children: tuple[bytes, ...] = ()
    """The bytes of each child, in the order of their events."""
    streams: Mapping[str, list[bytes]] = field(default_factory=dict)
    """The bytes of derived streams, by label."""
    statuses: tuple[StatusEvent, ...] = ()
    """Everything the hub was told about the task, heartbeats too."""


def run(plugin: Plugin, data: bytes | Path, **how: Any) -> Outcome:
    """Run a plugin over bytes or a file and return what came of it.

    Args:
        plugin: Which.
        data: The file.
        how: `filename`, `source`, `references` and derived `streams` it is submitted with, as
            `MemoryHub.submit` takes them.

    Raises:
        NotFound, BadInput: There is no such file, or it is none.
    """
    return asyncio.run(outcome_of(plugin, data, **how))


async def outcome_of(
    plugin: Plugin, data: bytes | Path, *, clock: Clock | None = None, **how: Any
) -> Outcome:
    """Do what `run` does, on a running event loop."""
    clock = clock or SystemClock()
    hub = MemoryHub(clock)
    if isinstance(data, Path):
        how.setdefault("filename", data.name)
    await hub.submit(data, **how)
    await Runner(plugin, hub, clock=clock).run(asyncio.Event(), once=True)
    return _outcome(hub)


def _outcome(hub: MemoryHub) -> Outcome:
    if not hub.final:
        return Outcome(refused=", ".join(hub.refused))
    ended = hub.final[-1].entity
    events = hub.events
    enriched = [event.entity for event in events if event.action == ENRICHED]
    features: dict[str, list[str]] = {}
    for feature in (one for entity in enriched for one in entity.features):
        features.setdefault(feature.name, []).append(feature.value)
    info = next((entity.info for entity in enriched if entity.info), msgspec.Raw(b"{}"))
    streams: dict[str, list[bytes]] = {}
    for label, data in _bytes(hub, AUGMENTED):
        if label != CONTENT:
            streams.setdefault(label, []).append(data)
    return Outcome(
        status=ended.status,
        error=ended.error,
        message=ended.message,
        events=tuple(events),
        features=features,
        info=msgspec.json.decode(bytes(info)),
        children=tuple(data for _, data in _bytes(hub, EXTRACTED)),
        streams=streams,
        statuses=tuple(hub.statuses),
    )


def _bytes(hub: MemoryHub, action: str) -> list[tuple[str, bytes]]:
    """Give the label and the bytes of every stream of the events of an action."""
    return [
        (stream.label, hub.bytes_of(StreamName(event.source.name, stream.label, stream.sha256)))
        for event in hub.events
        if event.action == action
        for stream in event.entity.datastreams
    ]
