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


class _Piece(NamedTuple):
    """Some records of one partition, in the list they came in, and the bytes of their values."""

    records: list[Record]
    size_bytes: int


class _Pile(NamedTuple):
    """Records of one partition that wait."""

    progress: Progress
    track: Track
    pieces: deque[_Piece]


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
        limit_bytes: Full at this many bytes of values.
        on_room: Called when a full intake is half empty again.
    """

    def __init__(self, *, limit_records: int, limit_bytes: int, on_room: Callable[[], None]) -> None:
        self._limit_records = limit_records
        self._limit_bytes = limit_bytes
        self._on_room = on_room
        self._piles: dict[TopicPartition, _Pile] = {}
        self._readings: dict[TopicPartition, Progress] = {}
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
        if self._readings.get(tp) is not progress:
            self._readings[tp] = progress
            self._drop_stale()
        pile = self._piles.get(tp)
        if pile is None:
            pile = self._piles[tp] = _Pile(progress, track, deque())
        piece = _Piece(records, _size_bytes(records))
        pile.pieces.append(piece)
        self._records += len(records)
        self._bytes += piece.size_bytes
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
            taken = _take_from(pile.pieces, max_records)
            if pile.pieces:
                self._piles[tp] = pile  # at the end: partitions take turns
            self._leave(taken)
            return Batch(
                taken.records, progress=pile.progress, track=pile.track, owner=owner, done=self._finished
            )
        return None

    def _drop_stale(self) -> None:
        """Let go of what belongs to readings that ended; its agents may never acknowledge it."""
        for tp in [tp for tp, pile in self._piles.items() if pile.progress.closed]:
            self._forget(self._piles.pop(tp))
        self._open = {key: batch for key, batch in self._open.items() if batch.current}

    def _finished(self, batch: Batch) -> None:
        self._open.pop(id(batch), None)

    def _forget(self, pile: _Pile) -> None:
        for piece in pile.pieces:
            self._leave(piece)

    def _leave(self, piece: _Piece) -> None:
        self._records -= len(piece.records)
        self._bytes -= piece.size_bytes
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


def _take_from(pieces: deque[_Piece], max_records: int) -> _Piece:
    """Remove up to `max_records` records from the front, cutting a piece where it must."""
    first = pieces.popleft()
    if len(first.records) > max_records:
        cut = first.records[:max_records]
        size_bytes = _size_bytes(cut)
        pieces.appendleft(_Piece(first.records[max_records:], first.size_bytes - size_bytes))
        return _Piece(cut, size_bytes)
    if not pieces or len(first.records) + len(pieces[0].records) > max_records:
        return first
    records, size_bytes = list(first.records), first.size_bytes
    while pieces and len(records) + len(pieces[0].records) <= max_records:
        piece = pieces.popleft()
        records.extend(piece.records)
        size_bytes += piece.size_bytes
    return _Piece(records, size_bytes)


def _size_bytes(records: list[Record]) -> int:
    return sum([len(record.value) for record in records if record.value])
