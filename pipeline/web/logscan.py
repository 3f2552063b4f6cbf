"""Looking for text in every record of the log, within named limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline import limits
from pipeline.clock import Clock
from pipeline.log.port import Bounds, Log, Record, TopicPartition

_BATCH_RECORDS = 2000
_LAST_WAIT_SECONDS = 0.2
"""Wait for records below the end of a partition; none come when its tail was compacted away."""


class Scanned(NamedTuple):
    """What a scan found and how far it came. `cut` says why it ended early, empty when it did not."""

    hits: list[Record]
    records_read: int
    cut: str


async def scan(log: Log, topics: Iterable[str], needles: Sequence[bytes], clock: Clock) -> Scanned:
    """Read the topics from start to present end; return the records with a needle in key or value.

    Bounded by `limits.WHERE_RECORDS_MAX`, `WHERE_SECONDS` and `WHERE_HITS_MAX`.
    """
    ends = await _ends(log, topics)
    deadline = clock.monotonic() + limits.WHERE_SECONDS
    hits: list[Record] = []
    records_read = 0
    reader = log.reader({place: bounds.start for place, bounds in ends.items()})
    try:
        while ends:
            records = await reader.read(max_records=_BATCH_RECORDS, wait_seconds=_LAST_WAIT_SECONDS)
            if not records:
                break
            records_read += len(records)
            hits += await asyncio.to_thread(_matching, records, needles)
            _pass(ends, records)
            cut = _limit(records_read, len(hits), clock.monotonic() > deadline)
            if cut:
                return Scanned(hits[: limits.WHERE_HITS_MAX], records_read, cut)
    finally:
        await reader.close()
    return Scanned(hits, records_read, "")


async def _ends(log: Log, topics: Iterable[str]) -> dict[TopicPartition, Bounds]:
    counts = await log.topics()
    wanted = set(topics)
    places = [
        TopicPartition(name, n) for name, count in counts.items() if name in wanted for n in range(count)
    ]
    bounds = await log.bounds(places)
    return {place: range_ for place, range_ in bounds.items() if range_.end > range_.start}


def _pass(ends: dict[TopicPartition, Bounds], records: Iterable[Record]) -> None:
    """Forget the partitions whose end, as it was at the start, is reached."""
    for record in records:
        place = TopicPartition(record.topic, record.partition)
        if place in ends and record.offset >= ends[place].end - 1:
            del ends[place]


def _matching(records: Iterable[Record], needles: Sequence[bytes]) -> list[Record]:
    return [record for record in records if _holds(record, needles)]


def _holds(record: Record, needles: Sequence[bytes]) -> bool:
    value, key = record.value or b"", record.key or b""
    return any(needle in value or needle in key for needle in needles)


def _limit(records_read: int, found: int, late: bool) -> str:
    if found >= limits.WHERE_HITS_MAX:
        return f"stopped after {limits.WHERE_HITS_MAX} records that know it"
    if records_read >= limits.WHERE_RECORDS_MAX:
        return f"stopped after reading {records_read} records of the log"
    return f"stopped after reading the log for {limits.WHERE_SECONDS:g} s" if late else ""
