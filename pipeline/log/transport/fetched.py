"""What one fetch gave of one partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.log.transport.progress import Progress, Track


class Fetched(NamedTuple):
    """Consecutive records of one partition as the driver gave them, and the reading they belong to."""

    tp: Any
    records: Sequence[Any]
    progress: Progress

    def arrive(self, track: Track) -> None:
        """Tell a track which offsets are there; what lies between them holds nothing readable."""
        records = self.records
        first, last = records[0].offset, records[-1].offset
        if last - first + 1 == len(records):
            track.arrive(first, last)
            return
        for record in records:
            track.arrive(record.offset, record.offset)
