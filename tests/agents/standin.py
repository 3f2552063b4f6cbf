"""A stand-in for a plugin and the hub that serves it, on topics alone: takes tasks, answers or dies."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from pipeline.app import Parts
from pipeline.events.codec import decode_stored
from pipeline.events.ids import dequeued_id, task_key
from pipeline.events.models import (
    Author,
    BinaryEntity,
    BinaryEvent,
    PathNode,
    Source,
    StatusEntity,
    StatusEvent,
)
from pipeline.events.names import CURRENT
from pipeline.events.records import record_of
from pipeline.events.task import TaskEvent
from pipeline.events.topics import ERROR, system_topic
from pipeline.hub.retries import PLUGIN_HEADER, VERSION_HEADER, task_record
from tests.agents.installation import records_of


class Retry(msgspec.Struct, frozen=True):
    """A task offered again."""

    plugin: str
    version: str
    previous: str
    attempt: int
    event: BinaryEvent


class Standin:
    """One plugin. Ids of tries differ by a counter where real ones differ by the second."""

    def __init__(
        self, parts: Parts, name: str, version: str = "1.0", *, second: int = 1_700_000_000
    ) -> None:
        self.name = name
        self.version = version
        self._parts = parts
        self._prefix = parts.settings.events.prefix
        self._second = second

    async def take(self, keys: Iterable[str]) -> list[str]:
        """Be handed fresh events; return the ids of the tries, which are durable then."""
        events: list[tuple[BinaryEvent, int, str | None]] = [(event_named(key), 0, None) for key in keys]
        return await self._dequeue(events)

    async def take_retries(self, retries: Iterable[Retry]) -> list[str]:
        """Be handed tasks again."""
        return await self._dequeue([(retry.event, retry.attempt, retry.previous) for retry in retries])

    async def offered(self) -> list[Retry]:
        """Return every retry this plugin was ever offered, without repeats of the same try."""
        found: dict[str, Retry] = {}
        for record in await records_of(self._parts, system_topic(self._prefix, ERROR)):
            retry = _retry(record.headers, decode_stored("binary", record.value))
            if (retry.plugin, retry.version) == (self.name, self.version):
                found[retry.previous] = retry
        return list(found.values())

    async def say(self, status: str, dequeued: Iterable[str], *, error: str = "") -> None:
        """Post a status about tasks."""
        author = Author(name=self.name, version=self.version, category="plugin")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        events = [
            StatusEvent(
                model_version=CURRENT,
                timestamp=now,
                author=author,
                entity=StatusEntity(input=BinaryEvent(dequeued=each), status=status, error=error),
            )
            for each in dequeued
        ]
        await self._parts.log.append([record_of(self._prefix, event) for event in events])

    async def _dequeue(self, events: list[tuple[BinaryEvent, int, str | None]]) -> list[str]:
        self._second += 1
        told = []
        for event, attempt, previous in events:
            dequeued = dequeued_id(event.kafka_key, self.name, self.version, self._second)
            told.append(
                TaskEvent(
                    kind="dequeued",
                    dequeued=dequeued,
                    task=task_key(dequeued),
                    timestamp=time.time(),
                    plugin=self.name,
                    version=self.version,
                    attempt=attempt,
                    previous=previous,
                    event=msgspec.Raw(msgspec.json.encode(event)),
                )
            )
        await self._parts.log.append([task_record(self._prefix, event) for event in told])
        return [event.dequeued for event in told]


def event_named(key: str) -> BinaryEvent:
    """Make a binary event that is told by its key."""
    node = PathNode(author=Author(name="feed"), action="sourced", sha256="0" * 64)
    return BinaryEvent(
        model_version=CURRENT,
        kafka_key=key,
        author=Author(name="feed"),
        source=Source(name="testing", path=(node,)),
        entity=BinaryEntity(sha256="0" * 64),
        action="sourced",
    )


def _retry(headers: tuple[tuple[str, bytes | None], ...], event: BinaryEvent | None) -> Retry:
    assert event is not None
    said = {name: (value or b"").decode() for name, value in headers}
    assert event.flags.retry
    return Retry(said[PLUGIN_HEADER], said[VERSION_HEADER], event.dequeued, event.retries, event)
