"""The producer pipeline: from events as posted to records that are durable.

What each step does to one event is said in `pipeline.events.produce`; here they stand in the contract's
order, count what they drop, and write what is left (dispatcher contract, sections 8 and 9). Everything
published is durable when `publish` returns, whether or not the client asked for ``sync``.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline import limits, metrics
from pipeline.clock import Clock
from pipeline.errors import EventCorrupt, TooLarge, Unavailable
from pipeline.events import validity
from pipeline.events.binary import BinaryEvent
from pipeline.events.ids import RandomBytes
from pipeline.events.models import Event, model_of
from pipeline.events.produce import is_aged_off, split_results, without_spent_settings
from pipeline.events.records import completed, record_of
from pipeline.events.sources import SourceDefinition
from pipeline.events.status import StatusEvent
from pipeline.hub.deleted import Deleted
from pipeline.log.port import Log, NewRecord

AGED_OFF = "PipelineAgeoff"
DELETED = "FilterPreviouslyDeleted"


@dataclass
class Published:
    """What came of publishing some events.

    `events` are the posted ones that were written, in order, in their final form; events the pipeline
    added are written and not among them. `dropped` counts by step. `errors` says what could not be written;
    `written` and `wanted` count records.
    """

    events: list[Event] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    written: int = 0
    wanted: int = 0


class _Item(NamedTuple):
    event: Event
    posted: bool


class Publisher:
    """Publishes events for clients of the hub.

    Args:
        log: An open log.
        prefix: Of the topics.
        sources: The configured ones, by name.
        deleted: What was deleted, followed.
        clock: Tells what has aged off.
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
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._sources = sources
        self._deleted = deleted
        self._clock = clock
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
        await self._deleted.ready()
        published = Published()
        if len(events) > limits.EVENTS_INLINE:
            records = await asyncio.to_thread(self._prepare, events, published)
        else:
            records = self._prepare(events, published)
        published.wanted = len(records) + len(published.errors)
        if records:
            try:
                await self._log.append(records)
            except Unavailable as error:
                published.errors.append(str(error))
                published.events.clear()
            else:
                published.written = len(records)
                _count(published.events)
        return published

    def _prepare(self, events: Sequence[Event], published: Published) -> list[NewRecord]:
        """Run the steps over all events; return the records to write, the posted events noted."""
        records = []
        for item in self._with_results(events, published):
            event = completed(item.event, self._random_bytes)
            if isinstance(event, BinaryEvent):
                if self._deleted.cover(event):
                    published.dropped[DELETED] += 1
                    continue
                event = without_spent_settings(event)
            try:
                records.append(record_of(self._prefix, event))
            except (TooLarge, EventCorrupt) as error:
                published.errors.append(str(error))
                continue
            if item.posted:
                published.events.append(event)
        return records

    def _with_results(self, events: Sequence[Event], published: Published) -> list[_Item]:
        """Drop what aged off; take the results out of statuses, each after all events that were posted."""
        now = self._clock.now()
        items, results = [], []
        for event in events:
            if is_aged_off(event, self._sources, now):
                published.dropped[AGED_OFF] += 1
                continue
            if isinstance(event, StatusEvent):
                event, more = split_results(event)  # noqa: PLW2901 - the same event, lighter
                results += [_Item(result, posted=False) for result in more]
            items.append(_Item(event, posted=True))
        return items + results


_authors: set[str] = set()


def _count(events: Sequence[Event]) -> None:
    for event in events:
        metrics.HUB_PUBLISHED.labels(_counted_as(event.author.name), model_of(event)).inc()


def _counted_as(author: str) -> str:
    """Return the name an author is counted under: clients choose it, and metrics live for ever."""
    if author not in _authors:
        if len(_authors) >= limits.METRIC_NAMES_MAX:
            return "other"
        _authors.add(author)
    return author
