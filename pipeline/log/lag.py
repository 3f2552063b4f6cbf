"""How far a consumer group is behind."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.log.port import Log, TopicPartition


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
    bounds = await log.bounds(partitions)
    return {
        place: max(there.end - max(committed.get(place, there.start), there.start), 0)
        for place, there in bounds.items()
    }
