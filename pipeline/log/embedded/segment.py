"""A segment: a file of frames of one partition, read at any offset."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Generator, Iterator
from pathlib import Path

from pipeline import limits
from pipeline.errors import Damaged
from pipeline.log.embedded import frame
from pipeline.log.embedded.snapshot import SegmentState
from pipeline.log.port import Record

_CHUNK_BYTES = limits.MIB
_POINT_BYTES = 64 * limits.KIB


def segment_name(base: int, generation: int) -> str:
    """Return the file name of a segment; the generation keeps rewritten ones apart."""
    return f"{base:020d}-{generation}"


class Segment:
    """Reads one segment file. Every call opens the file anew, so it never holds one that was removed.

    Known places in the file are collected as it is read; the nearest one before an offset is where a
    read starts. Safe to use from several threads.
    """

    def __init__(self, path: Path, state: SegmentState, topic: str, partition: int) -> None:
        self.path = path
        self.state = state
        self._topic = topic
        self._partition = partition
        self._points: list[tuple[int, int]] = [(state.base, 0)]
        self._points_lock = threading.Lock()

    def grown(self, state: SegmentState, points: list[tuple[int, int]]) -> Segment:
        """Return the same segment after more was written to it; `points` are places in the new part."""
        segment = Segment(self.path, state, self._topic, self._partition)
        with self._points_lock:
            segment._points = self._points + points
        return segment

    def read(self, offset: int, max_bytes: int) -> tuple[list[Record], int]:
        """Return records from `offset` on and the offset after them.

        At least one frame is read when there is one; the rest stops at about `max_bytes`. No records and
        the end of the segment mean that compaction left nothing.

        Raises:
            FileNotFoundError: The file was removed meanwhile by retention or compaction.
            Damaged: A frame is not what was written; names file and offset.
        """
        records: list[Record] = []
        reached = offset
        taken_bytes = 0
        for chunk, position, header in self._frames(offset):
            found = frame.decode(chunk, position, header, self._topic, self._partition)
            if header.base < offset:
                found = [record for record in found if record.offset >= offset]
            records += found
            reached = header.next
            taken_bytes += header.size_bytes
            if taken_bytes >= max_bytes and records:
                return records, reached
        return records, max(reached, self.state.next)

    def _frames(self, offset: int) -> Iterator[tuple[bytes, int, frame.FrameHeader]]:
        """Give the intact frames that end after `offset`, each as a buffer and its place in it."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            place = self._nearest(offset)
            while place < self.state.size_bytes:
                chunk = self._chunk(descriptor, place, frame.HEADER.size)
                at = 0
                while at < len(chunk):
                    header = frame.read_header(chunk, at)
                    if header is None or len(chunk) - at < header.size_bytes:
                        break
                    self._learn(header.base, place + at)
                    if header.next > offset:
                        if not frame.intact(chunk, at, header):
                            raise self._damaged(place + at)
                        yield chunk, at, header
                    at += header.size_bytes
                place += at
                if not at:
                    place = yield from self._large_frame(descriptor, place, offset)
        finally:
            os.close(descriptor)

    def _large_frame(
        self, descriptor: int, place: int, offset: int
    ) -> Generator[tuple[bytes, int, frame.FrameHeader], None, int]:
        """Give the one frame at `place` that is longer than a chunk; return the place after it."""
        head = self._chunk(descriptor, place, frame.HEADER.size)
        header = frame.read_header(head, 0)
        if header is None or place + header.size_bytes > self.state.size_bytes:
            raise self._damaged(place)
        if header.next > offset:
            chunk = self._chunk(descriptor, place, header.size_bytes)
            if not frame.intact(chunk, 0, header):
                raise self._damaged(place)
            yield chunk, 0, header
        return place + header.size_bytes

    def _chunk(self, descriptor: int, place: int, least_bytes: int) -> bytes:
        wanted = min(max(_CHUNK_BYTES, least_bytes), self.state.size_bytes - place)
        chunk = os.pread(descriptor, wanted, place)
        if len(chunk) < min(least_bytes, wanted):
            raise self._damaged(place + len(chunk))
        return chunk

    def _nearest(self, offset: int) -> int:
        with self._points_lock:
            index = bisect_right(self._points, (offset, self.state.size_bytes)) - 1
            return self._points[max(index, 0)][1]

    def _learn(self, base: int, place: int) -> None:
        with self._points_lock:
            index = bisect_right(self._points, (base, place))
            if place - self._points[index - 1][1] >= _POINT_BYTES:
                self._points.insert(index, (base, place))

    def _damaged(self, place: int) -> Damaged:
        return Damaged(
            f"read topic {self._topic}, partition {self._partition}",
            f"file {self.path} is damaged at offset {place}",
            "bring the file back from a copy, or let readers start behind it",
        )
