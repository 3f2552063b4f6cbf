"""Looking for text in every record of the log, within named limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline import limits
from pipeline.clock import Clock
from pipeline.log.port import Bounds, Log, Reader, Record, TopicPartition

_BATCH_RECORDS = 2000
_WAIT_SECONDS = 1.0


class Scanned(NamedTuple):
    """What a scan found and how far it came. `cut` says why it ended early, empty when it did not."""

    hits: list[Record]
    records_read: int
    cut: str


async def scan(
    log: Log,
    topics: Mapping[str, int],
    needles: Sequence[bytes],
    clock: Clock,
    *,
    newest: int | None = None,
) -> Scanned:
    """Read topics from start to present end; return the records with a needle in key or value.

    `topics` gives the number of partitions of each; of each partition only the `newest` so many offsets are
    read, when that is given. Bounded by `limits.WHERE_RECORDS_MAX`, `WHERE_SECONDS` and `WHERE_HITS_MAX`.
    """
    bounds = await _bounds(log, topics, newest)
    ends = {place: range_.end for place, range_ in bounds.items()}
    deadline = clock.monotonic() + limits.WHERE_SECONDS
    hits: list[Record] = []
    records_read = 0
    reader = log.reader({place: range_.start for place, range_ in bounds.items()})
    try:
        while not _reached(reader, ends):
            records = await reader.read(max_records=_BATCH_RECORDS, wait_seconds=_WAIT_SECONDS)
            records_read += len(records)
            hits += await asyncio.to_thread(_matching, records, needles)
            cut = _limit(records_read, len(hits), late=clock.monotonic() > deadline)
            if cut:
                return Scanned(hits[: limits.WHERE_HITS_MAX], records_read, cut)
    finally:
        await reader.close()
    return Scanned(hits, records_read, "")


async def _bounds(log: Log, topics: Mapping[str, int], newest: int | None) -> dict[TopicPartition, Bounds]:
    places = [TopicPartition(name, number) for name, count in topics.items() for number in range(count)]
    bounds = await log.bounds(places)
    return {
        place: Bounds(start if newest is None else max(start, end - newest), end)
        for place, (start, end) in bounds.items()
        if end > start
    }


def _reached(reader: Reader, ends: Mapping[TopicPartition, int]) -> bool:
    """Tell whether the ends, as they were at the start, are passed; a short silence proves nothing."""
    positions = reader.positions()
    return all(positions.get(place, 0) >= end for place, end in ends.items())


def _matching(records: Iterable[Record], needles: Sequence[bytes]) -> list[Record]:
    return [record for record in records if _holds(record, needles)]


def _holds(record: Record, needles: Sequence[bytes]) -> bool:
    value, key = record.value or b"", record.key or b""
    return any(needle in value or needle in key for needle in needles)


def _limit(records_read: int, found: int, *, late: bool) -> str:
    if found >= limits.WHERE_HITS_MAX:
        return f"stopped after {limits.WHERE_HITS_MAX} records that know it"
    if records_read >= limits.WHERE_RECORDS_MAX:
        return f"stopped after reading {records_read} records of the log"
    return f"stopped after reading the log for {limits.WHERE_SECONDS:g} s" if late else ""
