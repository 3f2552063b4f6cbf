"""What waits between the consumer and a stream that works in batches.

Stands in for the queue of a Faust channel: Faust stops agents by throwing into it. Unlike that queue it
is not emptied by Faust's flow control. What a rebalance made stale is recognised by its closed progress
and dropped when it is taken, so a record can neither be handed out twice nor be forgotten.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pipeline.log.port import Record, TopicPartition
from pipeline.log.transport.batch import Batch
from pipeline.log.transport.progress import Progress, Track


class _Pile(NamedTuple):
    """Records of one partition that wait, in the lists they came in."""

    progress: Progress
    track: Track
    lists: deque[list[Record]]


class Statistics(NamedTuple):
    """A look at an intake."""

    waiting_records: int
    waiting_bytes: int
    open_batches: int


class Intake:
    """Records waiting for one stream, by partition; partitions take turns.

    It never refuses records: the consumer asks `full` before it fetches more of a partition, so what
    waits is bounded by the two limits plus one fetch of each partition.

    Args:
        limit_records: Full at this many records.
        limit_bytes: Full at this many bytes of keys and values.
        on_room: Called when a full intake is half empty again.
    """

    def __init__(self, *, limit_records: int, limit_bytes: int, on_room: Callable[[], None]) -> None:
        self._limit_records = limit_records
        self._limit_bytes = limit_bytes
        self._on_room = on_room
        self._piles: dict[TopicPartition, _Pile] = {}
        self._open: dict[int, Batch] = {}
        self._again: deque[Batch] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._errors: deque[BaseException] = deque()
        self._records = 0
        self._bytes = 0
        self._was_full = False

    @property
    def full(self) -> bool:
        """Whether enough waits."""
        if self._records >= self._limit_records or self._bytes >= self._limit_bytes:
            self._was_full = True
            return True
        return False

    def statistics(self) -> Statistics:
        """Give the present counts."""
        return Statistics(self._records, self._bytes, len(self._open))

    def put(self, records: list[Record], progress: Progress, track: Track) -> None:
        """Add the next records of one partition, at least one."""
        tp = TopicPartition(records[0].topic, records[0].partition)
        pile = self._piles.get(tp)
        if pile is not None and pile.progress is not progress:
            self._forget(self._piles.pop(tp))
            pile = None
        if pile is None:
            pile = self._piles[tp] = _Pile(progress, track, deque())
        pile.lists.append(records)
        self._records += len(records)
        self._bytes += _size_bytes(records)
        self._wake()

    async def take(self, max_records: int, owner: object) -> Batch:
        """Wait for the next batch of at most `max_records` records of one partition.

        Raises whatever was thrown into the intake, foremost `StopAsyncIteration` when the agent stops.
        """
        while True:
            if self._errors:
                raise self._errors.popleft()
            batch = self._next_again(owner) or self._next_new(max_records, owner)
            if batch is not None:
                self._open[id(batch)] = batch
                if self._piles:
                    self._wake()
                return batch
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            finally:
                if getter in self._getters:
                    self._getters.remove(getter)

    def hand_again(self, owner: object) -> None:
        """Queue what `owner` was given and did not acknowledge, to be taken again before anything new."""
        given = [batch for batch in self._open.values() if batch.owner is owner]
        for batch in given:
            del self._open[id(batch)]
            rest = batch.rest()
            if rest is not None:
                self._again.append(rest)

    def _next_again(self, owner: object) -> Batch | None:
        for _ in range(len(self._again)):
            batch = self._again.popleft()
            if batch.owner is owner and batch.current:
                return batch
            if batch.current:
                self._again.append(batch)
        return None

    def _next_new(self, max_records: int, owner: object) -> Batch | None:
        while self._piles:
            tp = next(iter(self._piles))
            pile = self._piles.pop(tp)
            if pile.progress.closed:
                self._forget(pile)
                continue
            records = _take_from(pile.lists, max_records)
            if pile.lists:
                self._piles[tp] = pile  # at the end: partitions take turns
            self._leave(records)
            return Batch(
                records, progress=pile.progress, track=pile.track, owner=owner, done=self._finished
            )
        return None

    def _finished(self, batch: Batch) -> None:
        self._open.pop(id(batch), None)

    def _forget(self, pile: _Pile) -> None:
        for records in pile.lists:
            self._leave(records)

    def _leave(self, records: list[Record]) -> None:
        self._records -= len(records)
        self._bytes -= _size_bytes(records)
        half = self._records * 2 <= self._limit_records and self._bytes * 2 <= self._limit_bytes
        if self._was_full and half:
            self._was_full = False
            self._on_room()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    # What Faust calls on the queue of a channel.

    def _throw(self, error: BaseException) -> None:
        """Raise `error` in the stream, now or when it asks next."""
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_exception(error)
                return
        self._errors.append(error)

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._piles or self._again or self._errors)

    def qsize(self) -> int:
        """Count what waits."""
        return self._records

    def clear(self) -> None:
        """Keep everything: stale records are known by their closed progress."""


def _take_from(lists: deque[list[Record]], max_records: int) -> list[Record]:
    """Remove up to `max_records` records from the front, cutting a list where it must."""
    first = lists.popleft()
    if len(first) > max_records:
        lists.appendleft(first[max_records:])
        return first[:max_records]
    if not lists or len(first) + len(lists[0]) > max_records:
        return first
    taken = list(first)
    while lists and len(taken) + len(lists[0]) <= max_records:
        taken.extend(lists.popleft())
    return taken


def _size_bytes(records: list[Record]) -> int:
    return sum(len(record.value or b"") + len(record.key or b"") for record in records)
