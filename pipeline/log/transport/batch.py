"""Records of one partition that an agent works on together."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.log.port import Record
from pipeline.log.transport.progress import Progress, Track


class Batch:
    """Consecutive records of one partition, acknowledged as a whole or one by one.

    Nothing is acknowledged by itself: neither asking for the next batch nor dropping this one does it.
    Several batches may be in work at once and be acknowledged in any order; offsets are committed over
    contiguous acknowledged records only. Acknowledging after the partition was lost, or after it was
    read again from an earlier offset, does nothing: those records come again, here or elsewhere.

    Args:
        records: The records, at least one, in order of offset.
        progress: The reading of the partition they belong to.
        track: Where acknowledgements are noted.
        owner: Who was given the batch, so that a restarted owner is given the rest of it again.
        done: Called with the batch when all of it is acknowledged.
    """

    __slots__ = ("_done", "_open", "_progress", "_track", "owner", "partition", "records", "topic")

    def __init__(
        self,
        records: list[Record],
        *,
        progress: Progress,
        track: Track,
        owner: object,
        done: Callable[[Batch], None],
    ) -> None:
        self.records = records
        self.topic = records[0].topic
        self.partition = records[0].partition
        self.owner = owner
        self._progress = progress
        self._track = track
        self._done = done
        self._open: set[int] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def acknowledge(self) -> None:
        """Declare that everything these records caused is durable; safe to repeat."""
        self._track.finish(self.records[0].offset, self.records[-1].offset + 1)
        self._open = set()
        self._done(self)

    def acknowledge_record(self, record: Record) -> None:
        """Declare it for one record of this batch; safe to repeat, in any order."""
        offset = record.offset
        if self._open is None:
            self._open = {each.offset for each in self.records}
        if offset not in self._open:
            return
        self._open.remove(offset)
        self._track.finish(offset, offset + 1)
        if not self._open:
            self._done(self)

    @property
    def current(self) -> bool:
        """Whether acknowledging still counts: the partition was neither lost nor read from anew."""
        return not self._progress.closed

    def rest(self) -> Batch | None:
        """Return the records not acknowledged yet as a batch of their own; None when there are none."""
        open_offsets = self._open
        if open_offsets is None:
            records = self.records
        else:
            records = [record for record in self.records if record.offset in open_offsets]
        if not records or self._progress.closed:
            return None
        return Batch(records, progress=self._progress, track=self._track, owner=self.owner, done=self._done)
