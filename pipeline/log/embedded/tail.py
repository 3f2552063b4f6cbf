"""The tail: the newest frames of all partitions, kept in memory so that followers need no disk."""

from __future__ import annotations

from collections import deque

from pipeline.log.embedded.partition import Batch, Partition


class Tail:
    """Bounds what the partitions keep in memory, together; the oldest goes first, whoever's it is.

    What no segment has yet stays regardless; the size of the journals bounds that. Used by one thread at
    a time: the one that starts the log, then the writer.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._order: deque[tuple[Partition, int]] = deque()
        self._size_bytes = 0

    def adopt(self, partition: Partition, batch: Batch) -> None:
        """Show a batch to readers, and let go of the oldest ones beyond the limit."""
        partition.add(batch)
        size_bytes = len(batch.encoded)
        self._order.append((partition, size_bytes))
        self._size_bytes += size_bytes
        while self._size_bytes > self._max_bytes:
            oldest, its_bytes = self._order[0]
            if not oldest.forget_oldest():
                return
            self._order.popleft()
            self._size_bytes -= its_bytes
