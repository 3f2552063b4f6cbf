"""A partition: its closed and open segments, and its newest frames in memory."""

from __future__ import annotations

import threading
from bisect import bisect_right
from operator import attrgetter
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.log.embedded import frame
from pipeline.log.embedded.segment import Segment
from pipeline.log.embedded.snapshot import PartitionState
from pipeline.log.port import Bounds, Fetched, Record, TopicPartition

_READ_TRIES = 5


class Batch:
    """A frame in memory. It is decoded once, at the first read, whatever the number of readers."""

    __slots__ = ("_records", "base", "encoded", "newest_ms", "next")

    def __init__(self, base: int, next_offset: int, newest_ms: int, encoded: bytes) -> None:
        self.base = base
        self.next = next_offset
        self.newest_ms = newest_ms
        self.encoded = encoded
        self._records: list[Record] | None = None

    def records(self, place: TopicPartition) -> list[Record]:
        """Return the records of the frame; the list is shared and must not be changed."""
        if self._records is None:
            header = frame.read_header(self.encoded, 0)
            assert header is not None  # noqa: S101 - it was built by us and never left memory
            self._records = frame.decode(self.encoded, 0, header, place.topic, place.partition)
        return self._records


_base_of = attrgetter("base")
_next_of = attrgetter("next")
_segment_next = attrgetter("state.next")


class Partition:
    """One partition of the open log.

    The writer thread adds batches, the keeper thread moves them into segments and drops them from
    memory, any thread reads. The lock is held for short looks at lists only, never for the disk.
    """

    def __init__(self, place: TopicPartition, folder: Path, state: PartitionState) -> None:
        self.place = place
        self.folder = folder
        self._lock = threading.Lock()
        self._start = state.start
        self._flushed = state.flushed
        self._end = state.flushed
        self._segments = tuple(
            Segment(folder / each.name, each, place.topic, place.partition) for each in state.segments
        )
        self._tail: list[Batch] = []
        self._head = 0
        """Batches before this place in the tail were dropped."""

    # --- looks ---

    @property
    def end(self) -> int:
        """The offset the next record gets."""
        return self._end

    def bounds(self) -> Bounds:
        """Return what can be read."""
        with self._lock:
            return Bounds(self._start, self._end)

    def state(self) -> PartitionState:
        """Return what a snapshot says about this partition."""
        with self._lock:
            return PartitionState(self._start, self._flushed, tuple(each.state for each in self._segments))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, oldest first; the last one may still grow."""
        return self._segments

    # --- reading ---

    def read_memory(self, offset: int, max_records: int, max_bytes: int) -> Fetched | None:
        """Return records that are in memory, None when `offset` is only on disk."""
        with self._lock:
            offset = max(offset, self._start)
            if offset >= self._end:
                return Fetched([], offset)
            if self._head == len(self._tail) or offset < self._tail[self._head].base:
                return None
            index = bisect_right(self._tail, offset, lo=self._head, key=_base_of) - 1
            skip = offset - self._tail[index].base
            batches = []
            wanted, size_bytes = skip + max_records, 0
            while index < len(self._tail) and wanted > 0 and size_bytes < max_bytes:
                batch = self._tail[index]
                batches.append(batch)
                wanted -= batch.next - batch.base
                size_bytes += len(batch.encoded)
                index += 1
        if len(batches) == 1 and not skip and wanted >= 0:
            records = batches[0].records(self.place)
        else:
            records = []
            for batch in batches:
                records += batch.records(self.place)
            records = records[skip : skip + max_records]
        return Fetched(records, offset + len(records))

    def read_disk(self, offset: int, max_bytes: int) -> Fetched:
        """Return at least one frame from the segments when there is one; blocks on the disk.

        Raises:
            Damaged: A frame is not what was written, or its file is gone.
        """
        misses = 0
        while (segment := self._segment_for(offset)) is not None:
            try:
                records, reached = segment.read(max(offset, segment.state.base), max_bytes)
            except FileNotFoundError as error:
                misses += 1
                if misses == _READ_TRIES:
                    raise _missing(self.place, segment) from error
                continue  # retention or compaction took it between the look and the open; look again
            if records:
                return Fetched(records, reached)
            offset = reached
        return Fetched([], offset)

    def _segment_for(self, offset: int) -> Segment | None:
        segments = self._segments
        index = bisect_right(segments, offset, key=_segment_next)
        return segments[index] if index < len(segments) else None

    # --- changes; each names the one thread that makes it ---

    def add(self, batch: Batch) -> None:
        """Show a batch that is durable to readers (writer)."""
        with self._lock:
            self._tail.append(batch)
            self._end = batch.next

    def unflushed(self) -> list[Batch]:
        """Return the batches that are not in a segment yet (keeper)."""
        with self._lock:
            first = bisect_right(self._tail, self._flushed, lo=self._head, key=_next_of)
            return self._tail[first:]

    def set_segments(self, segments: tuple[Segment, ...], flushed: int) -> None:
        """Show new segments to readers; they hold everything before `flushed` (keeper)."""
        with self._lock:
            self._segments = segments
            self._flushed = flushed

    def set_start(self, start: int) -> None:
        """Move the first readable offset on (keeper)."""
        with self._lock:
            self._start = max(start, self._start)

    def forget_oldest(self) -> bool:
        """Drop the oldest batch from memory; False when no segment has it yet, and it stays (writer)."""
        with self._lock:
            if self._tail[self._head].next > self._flushed:
                return False
            self._tail[self._head] = _GONE
            self._head += 1
            if self._head * 2 > len(self._tail):
                del self._tail[: self._head]
                self._head = 0
            return True


_GONE = Batch(-1, -1, 0, b"")


def _missing(place: TopicPartition, segment: Segment) -> Damaged:
    return Damaged(
        f"read topic {place.topic}, partition {place.partition}",
        f"file {segment.path} is missing",
        "bring the file back from a copy, or let readers start behind it",
    )
