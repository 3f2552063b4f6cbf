"""What is written down about messages that have arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.archive.restore_journal import Mark, Run, Step
from pipeline.archive.restore_plan import PlannedRow, Window, lane_of
from pipeline.archive.restore_records import Outgoing
from pipeline.archive.restore_report import Failure
from pipeline.archive.restore_selection import Lane
from pipeline.log.port import TopicPartition

_Ways = dict[tuple[Lane, str, int], list[tuple[PlannedRow, int]]]


def settle(
    marks: Mapping[TopicPartition, Mark],
    window: Window,
    made: Sequence[Outgoing | Failure],
    offsets: Sequence[int],
) -> Step:
    """Make the line that says a window is done.

    Args:
        marks: What the partitions had before.
        window: The rows.
        made: What became of each of them.
        offsets: Where those that could be sent are, in order.
    """
    outgoing = [each for each in made if isinstance(each, Outgoing)]
    ways = _ways(outgoing, offsets)
    arrived: dict[TopicPartition, list[tuple[PlannedRow, int]]] = {}
    for (_, topic, partition), pairs in ways.items():
        arrived.setdefault(TopicPartition(topic, partition), []).extend(pairs)
    return Step(
        done=window.position,
        marks=[(*place, _mark(marks.get(place), pairs)) for place, pairs in arrived.items()],
        runs=[_run(*way, pairs) for way, pairs in ways.items()],
        failed=[each for each in made if isinstance(each, Failure)],
        messages=len(window.rows),
        bytes=window.size_bytes,
        placeholders=sum(each.placeholder for each in outgoing),
    )


def _ways(outgoing: Iterable[Outgoing], offsets: Iterable[int]) -> _Ways:
    """Sort rows and their new offsets by where they come from and where they went."""
    lanes: dict[tuple[object, ...], Lane] = {}
    ways: _Ways = {}
    for (row, record, _), offset in zip(outgoing, offsets, strict=True):
        known = (row.topic, row.cluster, row.kafka_partition, row.kafka_offset is None)
        lane = lanes.get(known)
        if lane is None:
            lane = lanes[known] = lane_of(row)
        way = (lane, record.topic, record.partition or 0)
        pairs = ways.get(way)
        if pairs is None:
            pairs = ways[way] = []
        pairs.append((row, offset))
    return ways


def _mark(before: Mark | None, pairs: Sequence[tuple[PlannedRow, int]]) -> Mark:
    offsets = [offset for _, offset in pairs]
    row, newest = max(pairs, key=lambda pair: pair[1])
    size_bytes = sum(row.size for row, _ in pairs)
    if before is None:
        return Mark(len(pairs), size_bytes, min(offsets), newest + 1, row.uuid)
    return Mark(
        before.messages + len(pairs),
        before.bytes + size_bytes,
        min(before.first, *offsets),
        max(before.end, newest + 1),
        row.uuid,
    )


def _run(lane: Lane, topic: str, partition: int, pairs: Sequence[tuple[PlannedRow, int]]) -> Run:
    numbers = _ranges(row.number for row, _ in pairs)
    return Run(lane, topic, partition, numbers, _ranges(offset for _, offset in pairs))


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Put consecutive numbers together, as first and count."""
    ranges: list[tuple[int, int]] = []
    first = following = -1
    for number in numbers:
        if number != following or first < 0:
            if first >= 0:
                ranges.append((first, following - first))
            first = number
        following = number + 1
    if first >= 0:
        ranges.append((first, following - first))
    return ranges
