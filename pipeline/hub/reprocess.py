"""Events of another topic prefix copied into the current one, upgraded on the way.

Positions are committed under the contract's group, after what was read is durable in its new place: a run
that was interrupted goes on where it was, and what it had copied and not committed becomes the same records
again. Contract: dispatcher section 24.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from pipeline import limits, metrics_hub
from pipeline.clock import Clock
from pipeline.errors import EventError, SettingError, TooLarge
from pipeline.events.brought import brought
from pipeline.events.models import MODELS
from pipeline.events.topics import (
    EXPEDITE,
    BinaryTopic,
    SystemTopic,
    binary_topic,
    model_of_topic,
    parse_topic,
)
from pipeline.log.port import Log, NewRecord, Reader, Record, TopicPartition

_log = structlog.get_logger(__name__)

Pause = Callable[[], Awaitable[None]]
"""Keeps plugins paused for some minutes."""
_COPYABLE = frozenset({*MODELS, EXPEDITE}) - {"binary"}
_TRIED = "copy the events of another prefix"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is copied: the topics of sources, or the system topics whose names begin as one included."""

    from_prefix: str
    sources: bool = False
    system: bool = False
    include_system: Collection[str] = ()
    deny_topics: Collection[str] = ()
    legacy_json: bool = False


@dataclass
class Tally:
    """How far a run is. `total` counts offsets up to where the topics ended when it began."""

    total: int = 0
    done: int = 0
    copied: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    """By topic: records that could not be read, or have no place here."""


def group_of(prefix: str) -> str:
    """Name the consumer group that holds the positions, in the contract's form."""
    return f"{prefix}-reprocess-earliest"


def choose_topics(selection: Selection, prefix: str, topics: Collection[str]) -> list[str]:
    """Choose the topics to copy from those there are.

    Raises:
        SettingError: The selection contradicts itself, or chooses nothing.
    """
    if selection.sources == selection.system:
        raise SettingError(
            _TRIED, "choose either the sources or the system topics", "--sources, or --system"
        )
    if not selection.from_prefix or selection.from_prefix == prefix:
        raise SettingError(
            f"{_TRIED}, {selection.from_prefix!r}", f"the current prefix is {prefix!r}", "name another"
        )
    chosen = [
        topic
        for topic in sorted(topics)
        if topic not in selection.deny_topics and _is_wanted(selection, topic)
    ]
    if not chosen:
        raise SettingError(
            f"{_TRIED}, {selection.from_prefix!r}", "there is no topic of that prefix to copy"
        )
    return chosen


def _is_wanted(selection: Selection, topic: str) -> bool:
    match parse_topic(selection.from_prefix, topic):
        case BinaryTopic():
            return selection.sources
        case SystemTopic(name) if selection.system and name.startswith(tuple(selection.include_system)):
            if name not in _COPYABLE:
                _log.warning("topic is not copied: it holds no events of a model", topic=topic)
            return name in _COPYABLE
        case _:
            return False


class Reprocessor:
    """Copies what a selection names.

    Args:
        log: An open log, on which the topics of the current prefix exist.
        prefix: The current one.
        selection: What is copied.
        clock: Spaces the pauses.
        told: Called with the tally after each batch.
        pause: Called before the first record and each minute; None pauses nothing.
    """

    def __init__(
        self,
        log: Log,
        prefix: str,
        selection: Selection,
        clock: Clock,
        *,
        told: Callable[[Tally], None],
        pause: Pause | None = None,
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._selection = selection
        self._clock = clock
        self._told = told
        self._pause = pause
        self._pause_due = clock.monotonic()
        self._group = group_of(prefix)
        self._there: Mapping[str, int] = {}
        self._reached: dict[TopicPartition, int] = {}
        self.tally = Tally()

    async def run(self, *, follow: bool = False) -> Tally:
        """Copy everything up to the ends the topics have now; with `follow`, go on with what comes after.

        Raises:
            SettingError: Nothing can be copied, or a source is not configured here.
            Unavailable: The log does not answer; a later run goes on from here.
        """
        self._there = await self._log.topics()
        topics = choose_topics(self._selection, self._prefix, self._there)
        self._check_sources(topics)
        places = [TopicPartition(topic, n) for topic in topics for n in range(self._there[topic])]
        bounds = await self._log.bounds(places)
        committed = await self._log.committed(self._group, places)
        self._reached = {place: max(bounds[place].start, committed.get(place, 0)) for place in places}
        starts = dict(self._reached)
        ends = {place: max(bounds[place].end, start) for place, start in starts.items()}
        self.tally.total = sum(ends[place] - start for place, start in starts.items())
        reader = self._log.reader(self._reached)
        try:
            while not self._look(starts, ends) or follow:
                await self._step(reader)
        finally:
            await reader.close()
        return self.tally

    def _look(self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
        """Tell how far it is; return whether every topic was read to the end it had."""
        behind = {place.topic for place, end in ends.items() if self._reached[place] < end}
        for topic in {place.topic for place in ends}:
            metrics_hub.REPROCESS_EOF.labels(topic).set(topic not in behind)
        self.tally.done = sum(min(self._reached[place], end) - starts[place] for place, end in ends.items())
        self._told(self.tally)
        return not behind

    def _check_sources(self, topics: Sequence[str]) -> None:
        """Refuse before anything is copied what would have no topic to go to."""
        prefix = self._selection.from_prefix
        names = (parse_topic(prefix, topic) for topic in topics)
        missing = {
            name.source
            for name in names
            if isinstance(name, BinaryTopic)
            and binary_topic(self._prefix, name.source, name.action) not in self._there
        }
        if missing:
            raise SettingError(
                f"{_TRIED}, {prefix!r}",
                f"no source here is called {', '.join(sorted(missing))}",
                "configure them (events.sources), or deny their topics",
            )

    async def _step(self, reader: Reader) -> None:
        """Copy one batch."""
        if self._pause is not None and self._clock.monotonic() >= self._pause_due:
            await self._pause()
            self._pause_due = self._clock.monotonic() + limits.REPROCESS_PAUSE_SECONDS
        records = await reader.read(
            max_records=limits.REPROCESS_BATCH_RECORDS, wait_seconds=limits.REPROCESS_WAIT_SECONDS
        )
        if records:
            await self._log.append(await asyncio.to_thread(self._convert, records))
        positions = reader.positions()
        moved = {place: at for place, at in positions.items() if at != self._reached[place]}
        # A crash before this commit copies the batch again, into the same records.
        await self._log.commit(self._group, moved)
        self._reached.update(moved)

    def _convert(self, records: Sequence[Record]) -> list[NewRecord]:
        made = []
        for record in records:
            if not record.value:
                continue  # a tombstone: what it removed here has a key of its own there
            try:
                new = brought(
                    self._prefix,
                    record,
                    model_of_topic(record.topic),
                    legacy_json=self._selection.legacy_json,
                )
            except (EventError, TooLarge) as error:
                self._skip(record, str(error))
                continue
            if new.topic not in self._there:
                self._skip(record, f"there is no topic {new.topic}")
                continue
            made.append(new)
            self.tally.copied[record.topic] += 1
            metrics_hub.REPROCESS_EVENTS.labels(record.topic).inc()
        return made

    def _skip(self, record: Record, reason: str) -> None:
        self.tally.skipped[record.topic] += 1
        if self.tally.skipped[record.topic] <= limits.REPROCESS_SKIPS_LOGGED:
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            _log.warning("record is not copied", **where, reason=reason)
