"""Where messages stood and where they stand now: the offset map of a restore, from its journal."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec

from pipeline import limits_archive
from pipeline.archive.restore.journal import Journal, Run
from pipeline.archive.restore.report import Moved
from pipeline.archive.restore.selection import UNPLACED
from pipeline.errors import Unavailable


async def offset_map(journal: Journal, path: Path | None) -> list[Moved] | None:
    """Give the map, None when it has more than `RESTORE_RANGES_SHOWN` ranges; a file gets all of it.

    Raises:
        Unavailable: The file cannot be written.
    """
    shown: list[Moved] = []
    count = 0
    try:
        file = None if path is None else await asyncio.to_thread(path.open, "wb")
        try:
            async for part in _parts(journal):
                count += len(part)
                shown += part[: max(limits_archive.RESTORE_RANGES_SHOWN - len(shown), 0)]
                if file is not None:
                    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in part)
                    await asyncio.to_thread(file.write, lines)
        finally:
            if file is not None:
                await asyncio.to_thread(file.close)
    except OSError as error:
        raise Unavailable(f"write the offset map {path}", error.strerror or str(error)) from error
    return shown if count <= limits_archive.RESTORE_RANGES_SHOWN else None


async def _parts(journal: Journal) -> AsyncIterator[list[Moved]]:
    """Give the ranges of each line of the journal, those of one partition put together across lines."""
    open_ranges: dict[tuple[object, ...], Moved] = {}
    async for step in journal.steps():
        ended = []
        for run in step.runs:
            way = (run.lane, run.topic, run.partition)
            for moved in ranges_of(run):
                before = open_ranges.get(way)
                joined = None if before is None else _joined(before, moved)
                if before is not None and joined is None:
                    ended.append(before)
                open_ranges[way] = joined or moved
        if ended:
            yield ended
    if open_ranges:
        yield list(open_ranges.values())


def ranges_of(run: Run) -> Iterator[Moved]:
    """Give the ranges of a run in which both numbers go on one by one."""
    partition = None if run.lane.partition == UNPLACED else run.lane.partition
    numbers, offsets = _cut(run.numbers, run.offsets), _cut(run.offsets, run.numbers)
    for (first, count), (to_first, _) in zip(numbers, offsets, strict=True):
        yield Moved(run.lane.topic, partition, first, count, run.topic, run.partition, to_first)


def _cut(ranges: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Cut ranges also where others end, so that both have as many."""
    ends = sorted({*itertools.accumulate(n for _, n in ranges), *itertools.accumulate(n for _, n in other)})
    passed = position = 0
    left = iter(ranges)
    first, count = next(left, (0, 0))
    for end in ends:
        if passed == position + count:
            position += count
            first, count = next(left)
        yield first + passed - position, end - passed
        passed = end


def _joined(before: Moved, moved: Moved) -> Moved | None:
    """Put two ranges together when the second one goes on where the first ends."""
    follows = before.first + before.count == moved.first
    if follows and before.to_first + before.count == moved.to_first:
        return msgspec.structs.replace(before, count=before.count + moved.count)
    return None
