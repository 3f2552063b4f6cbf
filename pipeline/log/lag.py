"""How far a consumer group is behind, in records and in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.clock import Clock
from pipeline.errors import NotFound
from pipeline.log.port import Bounds, Log, TopicPartition


async def lag(log: Log, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the number of offsets between what a group committed and the end of each partition.

    What the group never committed, or what is gone by now, counts from the start of the partition. On a
    compacted topic this is more than the records left to read.

    Raises:
        NotFound: There is no such partition.
        Unavailable: The log does not answer.
    """
    committed = await log.committed(group, partitions)
    # Asked after the committed offsets, so a group that moves meanwhile is never shown ahead of the end.
    return behind(committed, await log.bounds(partitions))


def behind(
    committed: Mapping[TopicPartition, int], bounds: Mapping[TopicPartition, Bounds]
) -> dict[TopicPartition, int]:
    """Return what `lag` does, from offsets that were asked for before."""
    return {
        place: max(there.end - max(committed.get(place, there.start), there.start), 0)
        for place, there in bounds.items()
    }


class Watermark:
    """The time up to which a group has processed everything that was on a topic.

    Whatever is measured against it instead of the clock cannot be overtaken by records nobody has read yet,
    however long the group stood still.

    Args:
        log: Where the topic is.
        group: The consumer group; all its members count.
        topic: What it reads.
        clock: Gives the time.
    """

    def __init__(self, log: Log, group: str, topic: str, clock: Clock) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._clock = clock
        self._passed = float("-inf")
        self._mark: tuple[float, dict[TopicPartition, int]] | None = None
        """A time, and where the partitions ended then or a little later."""

    async def advance(self) -> float:
        """Look again; return the time in unix seconds, minus infinity while it is not known.

        It is behind the clock by as long as the group takes to commit, and by up to the time between two
        calls.

        Raises:
            NotFound: There is no such topic.
            Unavailable: The log does not answer.
        """
        if self._mark is None:
            self._mark = await self._look()
        time, ends = self._mark
        committed = await self._log.committed(self._group, list(ends))
        if all(committed.get(place, 0) >= end for place, end in ends.items()):
            self._passed, self._mark = time, None
        return self._passed

    async def _look(self) -> tuple[float, dict[TopicPartition, int]]:
        counts = await self._log.topics()
        if self._topic not in counts:
            raise NotFound(f"read how far {self._group} is on {self._topic}", "there is no such topic")
        now = self._clock.unix()
        bounds = await self._log.bounds(
            [TopicPartition(self._topic, n) for n in range(counts[self._topic])]
        )
        # A partition without records is one nothing was ever committed on.
        return now, {place: there.end for place, there in bounds.items() if there.end > there.start}
