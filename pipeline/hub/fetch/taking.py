"""Taking events out of a chunk for one consumer (dispatcher contract, section 12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.hub import steps
from pipeline.hub.counts import Stopwatch
from pipeline.hub.fetch.chunk import Chunk, Index
from pipeline.hub.fetch.filters import Filter
from pipeline.hub.fetch.glance import Glance
from pipeline.hub.fetch.lane import RETRY, Lane, Span
from pipeline.hub.fetch.sift import AGED, DELETED, sift
from pipeline.hub.retries import CONSUMER_HEADER, PLUGIN_HEADER, VERSION_HEADER
from pipeline.log.port import Headers

RULES_STEP: Final = "FilterConsumerRules"
"""The step whose time is that of the compiled filter, which has three of the contract."""


@dataclass(slots=True, weakref_slot=True)
class Taken:
    """An event chosen for a consumer."""

    span: Span
    value: bytes
    glance: Glance
    retry: bool
    """It comes back to this consumer: the event holds the id of the try before."""
    dequeued: str = ""
    """Id under which it was handed out already, when that answer did not reach its client."""


class Deletions(Protocol):
    """What is deleted, as far as a cursor asks."""

    changes: int
    """How often something was deleted so far."""

    def cover_stored(self, value: bytes) -> bool:
        """Say whether a stored binary event is deleted."""


@dataclass(frozen=True)
class Sieve:
    """What holds events back from a consumer, at this moment."""

    rules: Filter
    now_unix: float
    deletions: Deletions | None
    """None for models whose events are not deleted."""
    on_deleted: Callable[[Chunk, Iterable[Index]], None]
    """Told of deleted events that are still there."""
    consumer_key: str
    plugin: str
    version: str
    tasks: bool
    """Its own lost tasks come back to it."""
    watch: Stopwatch
    """Measures the steps."""

    def not_wanted_in(self, chunk: Chunk) -> tuple[AbstractSet[Index], AbstractSet[Index]]:
        """Return which events of a chunk have aged off, and which were deleted."""
        aged = chunk.aged(self.now_unix)
        self.watch.lap(steps.AGED_OFF)
        deleted = self.deleted_in(chunk)
        self.watch.lap(steps.DELETED)
        return aged, deleted

    def deleted_in(self, chunk: Chunk) -> AbstractSet[Index]:
        """Return which events of a chunk were deleted."""
        if self.deletions is None:
            return frozenset()
        deleted, noticed = chunk.deleted(self.deletions.changes, self.deletions.cover_stored)
        if noticed:
            self.on_deleted(chunk, noticed)
        return deleted

    def reason(self, returned: Taken) -> str | None:
        """Say why an event that came back is held back now: the one who asks may be another one."""
        if (
            self.deletions is not None
            and self.deletions.changes
            and self.deletions.cover_stored(returned.value)
        ):
            return DELETED
        return None if returned.retry else self.rules.judge(returned.glance)

    def owns(self, headers: Headers) -> bool | None:
        """Say whether a retry is for this consumer; None when it is for everybody."""
        told = dict(headers)
        consumer = told.get(CONSUMER_HEADER)
        if consumer is None:
            return None
        if consumer:
            return consumer == self.consumer_key.encode()
        return (
            told.get(PLUGIN_HEADER) == self.plugin.encode()
            and told.get(VERSION_HEADER) == self.version.encode()
        )


def take(lane: Lane, chunk: Chunk, sieve: Sieve, wanted: int, removed: Counter[str]) -> list[Taken]:
    """Take up to `wanted` events that the lane has not looked at, and move the lane on.

    What is held back is counted in `removed`; retries of other consumers are passed over uncounted.
    """
    if lane.name == RETRY:
        return _take_retries(lane, chunk, sieve, wanted, removed)
    aged, deleted = sieve.not_wanted_in(chunk)
    first = chunk.index_at(lane.next[chunk.place])
    sifted = sift(chunk, first, wanted, sieve.rules, aged, deleted)
    removed.update(sifted.removed)
    sieve.watch.lap(RULES_STEP)
    lane.next[chunk.place] = chunk.offset_after(sifted.end)
    if not sifted.chosen:
        return []
    span = lane.hand_out(chunk.place, chunk.offsets[sifted.chosen[0]], len(sifted.chosen))
    values, glances = chunk.values, chunk.glances
    return [Taken(span, values[index], glances[index], retry=False) for index in sifted.chosen]


def _take_retries(
    lane: Lane, chunk: Chunk, sieve: Sieve, wanted: int, removed: Counter[str]
) -> list[Taken]:
    """Take what comes back to this consumer; its filter is asked only about what is for everybody."""
    aged, deleted = sieve.not_wanted_in(chunk)
    taken: list[Taken] = []
    index = chunk.index_at(lane.next[chunk.place])
    while index < len(chunk) and len(taken) < wanted:
        glance, owned = chunk.glances[index], sieve.owns(chunk.headers[index])
        if owned is not False:
            rules = None if owned else sieve.rules
            reason = _reason(index, glance, rules, aged, deleted)
            if reason is not None:
                removed[reason] += 1
            else:
                span = lane.hand_out(chunk.place, chunk.offsets[index], 1)
                taken.append(Taken(span, chunk.values[index], glance, retry=owned is True))
        index += 1
    lane.next[chunk.place] = chunk.offset_after(index)
    sieve.watch.lap(RULES_STEP)
    return taken


def _reason(
    index: Index,
    glance: Glance,
    rules: Filter | None,
    aged: AbstractSet[Index],
    deleted: AbstractSet[Index],
) -> str | None:
    if index in aged:
        return AGED
    held = rules.judge(glance) if rules is not None else None
    return held or (DELETED if index in deleted else None)
