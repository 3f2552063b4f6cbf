"""Which records of a partition are finished, and so how far its offset may be committed.

The one rule (design, section 4.2): an offset is committed only when every record below it was
acknowledged or cannot be read any more. Faust's own rule lets commits pass a record that was never
acknowledged (faust-notes, section 4); these two classes replace it.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable


class Track:
    """What one reader finished in one partition.

    `base` is the offset below which everything is finished. Finishing twice, in any order, or below
    `base` is harmless.
    """

    __slots__ = ("_ahead", "_next", "base")

    def __init__(self, start: int) -> None:
        self.base = start
        self._next = start
        self._ahead: list[tuple[int, int]] = []

    def arrive(self, first: int, last: int) -> None:
        """Note that the records `first` to `last` were delivered.

        Offsets that were jumped over since the delivery before hold nothing readable (compaction,
        retention, transaction markers) and count as finished.
        """
        if first > self._next:
            self.finish(self._next, first)
        self._next = last + 1

    def finish(self, start: int, end: int) -> None:
        """Note that all offsets from `start` up to but not including `end` are finished."""
        if end <= self.base:
            return
        if start > self.base:
            heapq.heappush(self._ahead, (start, end))
            return
        base = end
        ahead = self._ahead
        while ahead and ahead[0][0] <= base:
            base = max(base, heapq.heappop(ahead)[1])
        self.base = base

    @property
    def open_records(self) -> int:
        """Offsets between the first unfinished one and the last delivered one."""
        return self._next - self.base


class Progress:
    """One partition between two seeks: where it began, what comes next, and the tracks of its readers.

    A seek, a revocation or a rebalance ends a progress (`closed`) and starts another: what was delivered
    before is then known to be stale, and acknowledging it moves nothing.
    """

    __slots__ = ("_tracks", "closed", "next", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.next = start
        self.closed = False
        self._tracks: dict[Hashable, Track] = {}

    def track(self, reader: Hashable) -> Track:
        """Return the track of a reader; a new one begins where this progress began."""
        track = self._tracks.get(reader)
        if track is None:
            track = self._tracks[reader] = Track(self.start)
        return track

    @property
    def committable(self) -> int | None:
        """The offset that may be committed; None while nothing was finished."""
        lowest = min((track.base for track in self._tracks.values()), default=self.start)
        return None if lowest == self.start else lowest

    @property
    def open_records(self) -> int:
        """Offsets delivered and not finished, for the reader that is furthest behind."""
        return max((track.open_records for track in self._tracks.values()), default=0)
