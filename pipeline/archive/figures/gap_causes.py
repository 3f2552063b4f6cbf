"""Why offsets are not archived, as far as the log still tells: what it holds there, and beyond its ends."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from pipeline import limits, limits_archive
from pipeline.archive.figures.gaps import Gap, Gaps
from pipeline.errors import NotFound, Unavailable
from pipeline.log.port import Bounds, Log, TopicPartition

Cause = Literal["in the log", "nothing there", "gone", "not looked"]
"""What the log says of a gap.

``in the log``: it still has a message there. ``nothing there``: it has none; compaction or the marker of a
transaction takes the place. ``gone``: the log begins behind it, so nobody can tell whether messages stood
there. ``not looked``: the log does not know the topic, does not answer, or was not asked.
"""
_LOOK_BYTES = 1


class GapSeen(msgspec.Struct, frozen=True):
    """A gap and what the log says of it."""

    partition: int
    first: int
    last: int
    offsets: int
    parked: int
    cause: Cause


class PartitionSeen(msgspec.Struct, frozen=True):
    """What archive and log have of one partition. Offsets are None where one of them has none."""

    partition: int
    first: int | None
    """The first archived offset."""
    last: int | None
    """The last archived offset."""
    archived: int
    missing: int
    gaps: int
    log_start: int | None
    """The first offset the log still has."""
    log_end: int | None
    """The next offset the log will give."""
    waiting: int | None
    """Offsets of the log behind the last archived one."""


class GapsSeen(msgspec.Struct, frozen=True):
    """What of a topic is not archived, and what the log says of it."""

    topic: str
    partitions: list[PartitionSeen]
    gaps: list[GapSeen]
    """The first of them, at most as many as were asked for."""
    gaps_total: int
    missing_total: int
    """Offsets in all gaps."""
    why: str = ""
    """Why the log could not be asked."""


async def look(log: Log | None, gaps: Gaps) -> GapsSeen:
    """Compare the gaps of a topic with the log it was read from; never raises because that is down or slow.

    Only the first `limits_archive.ARCHIVE_GAPS_EXPLAINED` gaps the log still reaches are looked for in
    it. `log` None means that the source of the archive is another log than the one at hand.
    """
    bounds: dict[int, Bounds] = {}
    why = "" if log is not None else "the archive reads another log than this process does"
    try:
        async with asyncio.timeout(limits.PROBE_SECONDS):
            bounds = {} if log is None else await _bounds(log, gaps.topic)
            causes = await _causes(log, gaps, bounds)
    except (Unavailable, NotFound) as error:
        causes, why = ["not looked"] * len(gaps.gaps), str(error)
    except TimeoutError:
        causes, why = ["not looked"] * len(gaps.gaps), f"no answer within {limits.PROBE_SECONDS:g} s"
    return GapsSeen(
        gaps.topic,
        _partitions(gaps, bounds),
        [
            GapSeen(gap.partition, gap.first, gap.last, gap.offsets, gap.parked, cause)
            for gap, cause in zip(gaps.gaps, causes, strict=True)
        ],
        gaps.total,
        gaps.missing,
        why,
    )


async def _bounds(log: Log, topic: str) -> dict[int, Bounds]:
    count = (await log.topics()).get(topic, 0)
    if not count:
        raise NotFound(f"look for topic {topic} in the log", "it has no such topic")
    found = await log.bounds([TopicPartition(topic, number) for number in range(count)])
    return {place.partition: bounds for place, bounds in found.items()}


async def _causes(log: Log | None, gaps: Gaps, bounds: dict[int, Bounds]) -> list[Cause]:
    causes: list[Cause] = []
    looks = 0
    for gap in gaps.gaps:
        there = bounds.get(gap.partition)
        if log is None or there is None or gap.last >= there.end:
            causes.append("not looked")  # a topic made anew is younger than what is archived
        elif gap.last < there.start:
            causes.append("gone")
        elif looks == limits_archive.ARCHIVE_GAPS_EXPLAINED:
            causes.append("not looked")
        else:
            looks += 1
            causes.append(await _cause(log, TopicPartition(gaps.topic, gap.partition), gap, there.start))
    return causes


async def _cause(log: Log, place: TopicPartition, gap: Gap, start: int) -> Cause:
    first = max(gap.first, start)
    fetched = await log.fetch(place, first, max_records=1, max_bytes=_LOOK_BYTES)
    while not fetched.records and first < fetched.next <= gap.last:
        first = fetched.next
        fetched = await log.fetch(place, first, max_records=1, max_bytes=_LOOK_BYTES)
    if fetched.records and fetched.records[0].offset <= gap.last:
        return "in the log"
    return "gone" if gap.first < start else "nothing there"


def _partitions(gaps: Gaps, bounds: dict[int, Bounds]) -> list[PartitionSeen]:
    kept = {one.partition: one for one in gaps.partitions}
    found = []
    for number in sorted(kept.keys() | bounds.keys()):
        one, there = kept.get(number), bounds.get(number)
        behind = None if there is None else max(there.end - max(one.last + 1 if one else 0, there.start), 0)
        found.append(
            PartitionSeen(
                number,
                one.first if one else None,
                one.last if one else None,
                one.archived if one else 0,
                one.missing if one else 0,
                one.gaps if one else 0,
                there.start if there else None,
                there.end if there else None,
                behind,
            )
        )
    return found
