"""The producer pipeline: from events as posted to records that are durable.

What each step does to one event is said in `pipeline.events.produce`; here they stand in the contract's
order, count what they drop, and write what is left (dispatcher contract, sections 8 and 9). Everything
published is durable when `publish` returns, whether or not the client asked for ``sync``.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import EventCorrupt, TooLarge, Unavailable
from pipeline.events import validity
from pipeline.events.binary import BinaryEvent
from pipeline.events.ids import RandomBytes
from pipeline.events.models import Event
from pipeline.events.produce import is_aged_off, split_results, without_spent_settings
from pipeline.events.records import completed, record_of
from pipeline.events.sources import SourceDefinition
from pipeline.events.status import StatusEvent
from pipeline.hub import counts
from pipeline.hub.completions import STEP as REMEMBERED
from pipeline.hub.completions import Completions
from pipeline.hub.deleted import Deleted
from pipeline.hub.steps import AGED_OFF, DELETED
from pipeline.log.port import Log, NewRecord
from pipeline.metrics_hub import PRODUCE_ERRORS

T = TypeVar("T")

RESULTS = "ProduceStatusResults"
KEY = "InjectId"
SETTINGS = "SourceSettingRemoval"


@dataclass
class Published:
    """What came of publishing some events.

    `events` are the posted ones that were written, in order, in their final form; events the pipeline
    added are written and not among them. `dropped` and `added` count by step. `errors` says what could not
    be written; `written` and `wanted` count records of events, and `remembered` are those of completed
    statuses; `watch` has the time it took.
    """

    events: list[Event] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    written: int = 0
    wanted: int = 0
    remembered: list[NewRecord] = field(default_factory=list)
    watch: counts.Stopwatch = field(default_factory=counts.Stopwatch)


_Item = tuple[Event, bool]
"""An event, and whether it was posted."""


class Publisher:
    """Publishes events for clients of the hub.

    Args:
        log: An open log.
        prefix: Of the topics.
        sources: The configured ones, by name.
        deleted: What was deleted, followed.
        clock: Tells what has aged off.
        completions: Where completed statuses are remembered.
        random_bytes: For keys that identify nothing.
    """

    def __init__(
        self,
        log: Log,
        *,
        prefix: str,
        sources: Mapping[str, SourceDefinition],
        deleted: Deleted,
        clock: Clock,
        completions: Completions,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._sources = sources
        self._deleted = deleted
        self._clock = clock
        self._completions = completions
        self._random_bytes = random_bytes

    def fault(self, event: Event) -> str | None:
        """Return why an event cannot be published: a broken rule, an unknown source; None when it can."""
        reason = validity.fault(event)
        if reason is not None:
            return reason
        binaries: tuple[Event, ...] = ()
        if isinstance(event, BinaryEvent):
            binaries = (event,)
        elif isinstance(event, StatusEvent):
            binaries = event.entity.results
        for each in binaries:
            if isinstance(each, BinaryEvent) and each.source.name not in self._sources:
                return f"event has an unknown 'source.name': {each.source.name[:64]!r}"
        return None

    async def publish(self, events: Sequence[Event]) -> Published:
        """Run valid events through the pipeline and write what is left.

        Raises:
            Unavailable: The log does not answer, so that what was deleted is not known; nothing is written.
        """
        with counts.failing(PRODUCE_ERRORS, DELETED):
            await self._deleted.ready()
        published = Published()
        records = await self._prepare(events, published)
        published.wanted = len(records) + len(published.errors)
        if records:
            try:
                await self._log.append([*records, *published.remembered])
            except Unavailable as error:
                published.errors.append(str(error))
                published.events.clear()
            else:
                published.written = len(records)
                self._completions.remember(published.remembered)
            published.watch.lap(counts.PRODUCE)
        counts.count_produced(
            published.events, dropped=published.dropped, added=published.added, watch=published.watch
        )
        return published

    async def _prepare(self, events: Sequence[Event], published: Published) -> list[NewRecord]:
        """Run the steps over all events; return the records to write, the posted events noted."""
        posted: list[_Item] = []
        results: list[_Item] = []
        async for some in _slices(events):
            self._accept(some, posted, results, published)
        _note(published.added, RESULTS, len(results))
        records: list[NewRecord] = []
        async for items in _slices(posted + results):
            records += self._finish(items, published)
        return records

    def _accept(
        self, events: Sequence[Event], posted: list[_Item], results: list[_Item], published: Published
    ) -> None:
        """Add what is not too old to `posted`, and to `results` what its statuses brought."""
        watch = published.watch
        watch.start()
        events = self._without_aged(events, published)
        watch.lap(AGED_OFF)
        if self._completions.on:
            published.remembered += self._completions.records_of(events)
            watch.lap(REMEMBERED)
        for event in events:
            if isinstance(event, StatusEvent):
                status, brought = split_results(event)
                posted.append((status, True))
                results += [(result, False) for result in brought]
            else:
                posted.append((event, True))
        watch.lap(RESULTS)

    def _finish(self, items: Sequence[_Item], published: Published) -> list[NewRecord]:
        """Bring events to their final form; return their records."""
        watch = published.watch
        watch.start()
        items = [(completed(event, self._random_bytes), posted) for event, posted in items]
        watch.lap(KEY)
        items = self._without_deleted(items, published)
        watch.lap(DELETED)
        items = [(_without_spent_settings(event), posted) for event, posted in items]
        watch.lap(SETTINGS)
        records = self._records(items, published)
        watch.lap(counts.PRODUCE)
        return records

    def _without_aged(self, events: Sequence[Event], published: Published) -> list[Event]:
        now = self._clock.now()
        kept = [event for event in events if not is_aged_off(event, self._sources, now)]
        _note(published.dropped, AGED_OFF, len(events) - len(kept))
        return kept

    def _without_deleted(self, items: list[_Item], published: Published) -> list[_Item]:
        deleted = self._deleted
        kept = [item for item in items if not (isinstance(item[0], BinaryEvent) and deleted.cover(item[0]))]
        _note(published.dropped, DELETED, len(items) - len(kept))
        return kept

    def _records(self, items: list[_Item], published: Published) -> list[NewRecord]:
        records = []
        for event, posted in items:
            try:
                records.append(record_of(self._prefix, event))
            except (TooLarge, EventCorrupt) as error:
                published.errors.append(str(error))
                continue
            if posted:
                published.events.append(event)
        return records


async def _slices(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Give items some at a time and others a turn in between.

    A thread would not: it holds the interpreter just as well, and changing between the two takes time.
    """
    for first in range(0, len(items), limits.PUBLISH_SLICE_EVENTS):
        if first:
            await asyncio.sleep(0)
        yield items[first : first + limits.PUBLISH_SLICE_EVENTS]


def _without_spent_settings(event: Event) -> Event:
    return without_spent_settings(event) if isinstance(event, BinaryEvent) else event


def _note(counted: Counter[str], step: str, count: int) -> None:
    if count:
        counted[step] += count
