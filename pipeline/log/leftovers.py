"""Records that came beyond what was asked for, kept for the fetch that goes on there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from pipeline.log.port import Fetched, Record, TopicPartition
from pipeline.log.record_size import record_size_bytes


class _Kept(NamedTuple):
    """What came at once; the records before `start` were handed out already."""

    records: list[Record]
    start: int
    next: int
    size_bytes: int


class Leftovers:
    """A bounded store; what was not asked for the longest goes first. Safe from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[TopicPartition, int], _Kept] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def split(self, place: TopicPartition, found: Fetched, max_records: int) -> Fetched:
        """Return the first records of `found` and keep the rest for a fetch that goes on after them."""
        if len(found.records) <= max_records:
            return found
        size_bytes = sum(map(record_size_bytes, found.records))
        with self._lock:
            return self._hand_out(place, _Kept(found.records, 0, found.next, size_bytes), max_records)

    def take(self, place: TopicPartition, offset: int, max_records: int) -> Fetched | None:
        """Return what is kept for a fetch at `offset`; None when nothing is."""
        with self._lock:
            kept = self._kept.pop((place, offset), None)
            if kept is None:
                return None
            self._size_bytes -= kept.size_bytes
            return self._hand_out(place, kept, max_records)

    def _hand_out(self, place: TopicPartition, kept: _Kept, max_records: int) -> Fetched:
        end = kept.start + max_records
        records = kept.records[kept.start : end]
        if end >= len(kept.records):
            return Fetched(records, kept.next)
        following = kept.records[end].offset
        replaced = self._kept.pop((place, following), None)
        self._size_bytes += kept.size_bytes - (replaced.size_bytes if replaced else 0)
        self._kept[place, following] = kept._replace(start=end)
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= self._kept.popitem(last=False)[1].size_bytes
        return Fetched(records, following)
