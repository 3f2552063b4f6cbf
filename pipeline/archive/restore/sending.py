"""Appending what a restore plays back, and finding out what is there already when nobody knows.

Messages go out in order, one append after the other. When an append fails, or a run before was stopped in
one, the end of the destination is read and compared with what was on its way; only what is not there is
sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

import structlog

from pipeline import limits, limits_archive
from pipeline.clock import Clock
from pipeline.errors import StorageFull, Unavailable
from pipeline.log.port import Headers, Log, NewRecord, Record, TopicPartition
from pipeline.log.record_size import record_size_bytes

log = structlog.get_logger(__name__)

Content = tuple[int | None, bytes | None, bytes | None, Headers]
"""Everything a message is: time, key, value and headers."""


def content_of(record: NewRecord | Record) -> Content:
    """Give everything a message is, for comparing."""
    return (record.timestamp_ms, record.key, record.value, record.headers)


class Sender:
    """Puts records into the destination and says where they are.

    Args:
        destination: The log; its appends are idempotent while they last and acknowledged by all replicas.
        clock: Gives the pace.
        rate: Messages a second, 0 meaning as fast as possible.
        append_max_bytes: Most bytes of one append, for topics that take small batches only; None for all.
        ends: For each partition the offset behind which nothing of this restore is known to be.
    """

    def __init__(
        self,
        destination: Log,
        clock: Clock,
        *,
        rate: float,
        append_max_bytes: int | None,
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._destination = destination
        self._clock = clock
        self._rate = rate
        self._append_max_bytes = append_max_bytes
        self._ends = dict(ends)
        self._due_seconds = 0.0
        self.recognised = 0

    async def recognise(self, records: Sequence[NewRecord]) -> dict[int, int]:
        """Look behind what is known for records that may have arrived; return offsets by their index.

        A message counts once for each time it is there, so of two that are equal both have to be.

        Raises:
            Unavailable: The destination does not answer.
        """
        wanted: dict[TopicPartition, dict[Content, deque[int]]] = {}
        for index, record in enumerate(records):
            in_place = wanted.setdefault(_place(record), {})
            in_place.setdefault(content_of(record), deque()).append(index)
        found: dict[int, int] = {}
        for place, contents in wanted.items():
            async for arrived in self._behind(place):
                if indexes := contents.get(content_of(arrived)):
                    found[indexes.popleft()] = arrived.offset
                    self._ends[place] = arrived.offset + 1
        self.recognised += len(found)
        return found

    async def _behind(self, place: TopicPartition) -> AsyncIterator[Record]:
        end = (await self._destination.bounds([place]))[place].end
        async for record in records_between(self._destination, place, self._ends[place], end):
            yield record

    async def send(self, records: list[NewRecord], *, uncertain: bool) -> AsyncIterator[dict[int, int]]:
        """Send records in order, yielding the offsets of those that are durable by their index.

        With `uncertain`, some may have been sent before; those are not sent again.

        Raises:
            Unavailable: The destination did not answer, also after several looks.
            HeadraceError: It refuses a record.
        """
        there = await self.recognise(records) if uncertain else {}
        if there:
            yield there
        left = [index for index in range(len(records)) if index not in there]
        for indexes in self._slices(records, left):
            await self._pace(len(indexes))
            yield await self._deliver(records, indexes)

    def _slices(self, records: Sequence[NewRecord], indexes: list[int]) -> list[list[int]]:
        if not self._rate and self._append_max_bytes is None:
            return [indexes] if indexes else []
        most = len(indexes)
        if self._rate:
            most = max(1, int(self._rate * limits_archive.RESTORE_PACE_SECONDS))
        most_bytes = self._append_max_bytes or limits_archive.RESTORE_WINDOW_BYTES
        slices: list[list[int]] = []
        size_bytes = most_bytes
        for index in indexes:
            record_bytes = record_size_bytes(records[index])
            if not slices or len(slices[-1]) >= most or size_bytes + record_bytes > most_bytes:
                slices.append([])
                size_bytes = 0
            slices[-1].append(index)
            size_bytes += record_bytes
        return slices

    async def _pace(self, count: int) -> None:
        """Wait until so many may be sent; time that was lost is not made up for."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        if self._due_seconds > now:
            await self._clock.sleep(self._due_seconds - now)
        self._due_seconds = max(self._due_seconds, now) + count / self._rate

    async def _deliver(self, records: list[NewRecord], indexes: list[int]) -> dict[int, int]:
        delivered: dict[int, int] = {}
        pause_seconds = limits.CALL_BACKOFF_SECONDS
        for attempt in range(1, limits_archive.RESTORE_ATTEMPTS + 1):
            try:
                if attempt > 1:
                    arrived = await self.recognise([records[index] for index in indexes])
                    delivered |= {indexes[number]: offset for number, offset in arrived.items()}
                    indexes = [index for index in indexes if index not in delivered]
                return delivered | await self._append(records, indexes)
            except Unavailable as error:
                if attempt == limits_archive.RESTORE_ATTEMPTS or isinstance(error, StorageFull):
                    raise
                log.warning("looking for what arrived, then sending the rest again", reason=str(error))
            await self._clock.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    async def _append(self, records: list[NewRecord], indexes: Sequence[int]) -> dict[int, int]:
        some = records if len(indexes) == len(records) else [records[index] for index in indexes]
        placed = await self._destination.append(some)
        newest = {(topic, partition): offset for topic, partition, offset in placed}
        self._ends |= {TopicPartition(*place): offset + 1 for place, offset in newest.items()}
        return dict(zip(indexes, [offset for _, _, offset in placed], strict=True))


def _place(record: NewRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition or 0)


async def records_between(
    destination: Log, place: TopicPartition, first: int, end: int
) -> AsyncIterator[Record]:
    """Give what a partition holds from one offset up to another, some at a time. Raises `Unavailable`."""
    position = first
    while position < end:
        fetched = await destination.fetch(
            place,
            position,
            max_records=limits_archive.RESTORE_WINDOW_ROWS,
            max_bytes=limits.LOG_READ_MAX_BYTES,
        )
        for record in fetched.records:
            if record.offset >= end:
                return
            yield record
        if fetched.next == position:
            return
        position = fetched.next
