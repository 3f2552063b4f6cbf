"""Keepers over an archive of a test, and batches for them that say what was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.archive.outcome import Outcome
from pipeline.archive.storing.keeper import Keeper
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.log.port import Headers, Record
from pipeline.log.transport.batch import Batch
from pipeline.log.transport.progress import Progress
from tests.archive.archived import TIME_MS

TOPIC = "alerts.kept"


class Partition:
    """A partition as the transport reads it: hands out batches and knows what was acknowledged."""

    def __init__(self, partition: int = 0, *, topic: str = TOPIC, start: int = 0) -> None:
        self.topic = topic
        self.partition = partition
        self._next = start
        self._begin(start)

    def _begin(self, start: int) -> None:
        self._progress = Progress(start)
        self._track = self._progress.track(self)

    def batch(
        self, count: int, *, headers: Headers = (), value: bytes | None = None, gap: int = 0
    ) -> Batch:
        """Give the next records."""
        first = self._next + gap
        self._next = first + count
        records = [
            Record(self.topic, self.partition, n, TIME_MS + n, None, value or b"%d" % n, headers)
            for n in range(first, self._next)
        ]
        return self.batch_of(records)

    def batch_of(self, records: list[Record]) -> Batch:
        """Give a batch of these records."""
        self._track.arrive(records[0].offset, records[-1].offset)
        return Batch(
            records, progress=self._progress, track=self._track, owner=self, done=lambda _batch: None
        )

    def lose(self) -> None:
        """Lose the partition, and get it again where it was committed."""
        self._progress.closed = True
        self._next = self.committed
        self._begin(self.committed)

    @property
    def committed(self) -> int:
        """The offset up to which everything was acknowledged."""
        return self._track.base


class Parked:
    """Takes what is parked."""

    def __init__(self) -> None:
        self.records: list[tuple[Record, Outcome]] = []

    async def __call__(self, refused: Sequence[tuple[Record, Outcome]]) -> None:
        """Note them."""
        self.records += refused


def a_keeper(new_writer: Callable[..., ArchiveWriter], layout: str, **changes: Any) -> Keeper:
    """Make a keeper that stores everything in one layout; its keywords replace what they name."""
    own = {
        name: changes.pop(name) for name in ("objects", "database", "object_max_bytes") if name in changes
    }
    alone = new_writer(**own)
    chosen: dict[str, Any] = {"layout": lambda _: layout, "clock": SystemClock(), "park": Parked()}
    return Keeper(alone, PackWriter(alone), **(chosen | changes))
