"""Records read from disk beyond what was asked for, kept for the read that goes on there."""

from __future__ import annotations

import threading
from collections import OrderedDict

from pipeline.log.embedded.partition import Fetched
from pipeline.log.port import TopicPartition
from pipeline.log.record_size import record_size_bytes


class Leftovers:
    """A bounded store; what was not asked for the longest goes first. Safe from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[TopicPartition, int], tuple[Fetched, int]] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def put(self, place: TopicPartition, rest: Fetched) -> None:
        """Keep records, at least one, for a read at the offset of the first."""
        size_bytes = sum(record_size_bytes(record) for record in rest.records)
        with self._lock:
            self._drop((place, rest.records[0].offset))
            self._kept[place, rest.records[0].offset] = (rest, size_bytes)
            self._size_bytes += size_bytes
            while self._size_bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def take(self, place: TopicPartition, offset: int) -> Fetched | None:
        """Return and forget what is kept for a read at `offset`."""
        with self._lock:
            kept = self._kept.get((place, offset))
            self._drop((place, offset))
            return kept[0] if kept else None

    def _drop(self, key: tuple[TopicPartition, int]) -> None:
        kept = self._kept.pop(key, None)
        if kept:
            self._size_bytes -= kept[1]
