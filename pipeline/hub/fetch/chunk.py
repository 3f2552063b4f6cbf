"""A run of decoded events of one partition, shared by every consumer that reads there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from math import inf

from pipeline.hub.fetch.glance import Glance, Shape
from pipeline.log.port import Headers, TopicPartition

Index = int
"""Place of an event in its chunk."""
_NONE: frozenset[Index] = frozenset()


class Chunk:
    """The events of a partition between two offsets, in order; grows at its end until it is full.

    Values, glances and headers stand at the same index. Tombstones and what cannot be decoded are left
    out, so offsets have gaps.

    Args:
        place: The partition.
        start: First offset it covers.
    """

    __slots__ = (
        "_deleted",
        "_expiring",
        "_first_expiry",
        "_judged",
        "glances",
        "headers",
        "largest_bytes",
        "next",
        "offsets",
        "place",
        "shapes",
        "size_bytes",
        "smallest_bytes",
        "start",
        "values",
    )

    def __init__(self, place: TopicPartition, start: int) -> None:
        self.place = place
        self.start = start
        self.next = start
        """The offset after the last one covered."""
        self.offsets: list[int] = []
        self.values: list[bytes] = []
        self.glances: list[Glance] = []
        self.headers: list[Headers] = []
        self.shapes: dict[Shape, list[Index]] = {}
        """Where each shape occurs, ascending."""
        self.size_bytes = 0
        self.smallest_bytes = inf
        """Size of the smallest content stream."""
        self.largest_bytes = -inf
        self._expiring: dict[Index, float] = {}
        self._first_expiry = inf
        self._deleted: set[Index] = set()
        self._judged: tuple[int, Index] = (0, 0)
        """Number of deletions known, and index up to which events were held against them."""

    def __len__(self) -> int:
        return len(self.offsets)

    def append(
        self, offset: int, value: bytes, glance: Glance, headers: Headers, expires: float | None
    ) -> None:
        """Add the next event. `expires` is when it ages off, in unix seconds; None is never."""
        index = len(self.offsets)
        self.offsets.append(offset)
        self.values.append(value)
        self.glances.append(glance)
        self.headers.append(headers)
        self.size_bytes += len(value)
        self.next = offset + 1
        shape = glance.shape
        found = self.shapes.get(shape)
        if found is None:
            self.shapes[shape] = [index]
        else:
            found.append(index)
        for place in shape.contents:
            size = glance.sizes[place]
            if not self.smallest_bytes <= size <= self.largest_bytes:
                self.smallest_bytes = min(self.smallest_bytes, size)
                self.largest_bytes = max(self.largest_bytes, size)
        if expires is not None:
            self._expiring[index] = expires
            self._first_expiry = min(self._first_expiry, expires)

    def index_at(self, offset: int) -> Index:
        """Return the index of the first event at or after an offset."""
        return 0 if offset <= self.start else bisect_left(self.offsets, offset)

    def offset_after(self, end: Index) -> int:
        """Return the offset to go on at when the events before index `end` are done with."""
        return self.next if end >= len(self.offsets) else self.offsets[end]

    def aged(self, now_unix: float) -> AbstractSet[Index]:
        """Return which events have aged off."""
        if now_unix <= self._first_expiry:
            return _NONE
        return {index for index, expires in self._expiring.items() if expires < now_unix}

    def deleted(
        self, deletions: int, is_deleted: Callable[[bytes], bool]
    ) -> tuple[AbstractSet[Index], Sequence[Index]]:
        """Return which events were deleted, and which of them nobody had noticed before.

        Args:
            deletions: How many deletions are known; what was judged by as many is not judged again.
            is_deleted: Judges a stored event.
        """
        if not deletions:
            return _NONE, ()
        known, judged = self._judged
        first = judged if known == deletions else 0
        noticed = [
            index
            for index in range(first, len(self.values))
            if index not in self._deleted and is_deleted(self.values[index])
        ]
        self._deleted.update(noticed)
        self._judged = (deletions, len(self.values))
        return self._deleted, noticed
