"""What is written down about messages that have arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.archive.restore.journal import Mark, Run, Step
from pipeline.archive.restore.plan import PlannedRow, Window, lane_of
from pipeline.archive.restore.records import Made, Standin
from pipeline.archive.restore.report import Failure
from pipeline.archive.restore.selection import Lane
from pipeline.log.port import TopicPartition


class _Way:
    """Messages that went from one lane to one partition, in order."""

    def __init__(self, lane: Lane, place: TopicPartition) -> None:
        self.lane = lane
        self.place = place
        self.rows: list[PlannedRow] = []
        self.offsets: list[int] = []


def settle(
    marks: Mapping[TopicPartition, Mark], window: Window, made: Sequence[Made], offsets: Sequence[int]
) -> Step:
    """Make the line that says a window is done.

    Args:
        marks: What the partitions had before.
        window: The rows.
        made: What became of each of them.
        offsets: Where those that could be sent are, in order.
    """
    ways = _ways(window.rows, made, offsets)
    grown: dict[TopicPartition, Mark] = {}
    for way in ways:
        grown[way.place] = _mark(grown.get(way.place) or marks.get(way.place), way)
    return Step(
        done=window.position,
        marks=[(*place, mark) for place, mark in grown.items()],
        runs=[
            Run(way.lane, *way.place, ranges([row.number for row in way.rows]), ranges(way.offsets))
            for way in ways
        ],
        failed=[each for each in made if isinstance(each, Failure)],
        messages=len(window.rows),
        bytes=window.size_bytes,
        placeholders=sum([isinstance(each, Standin) for each in made]),
    )


def _ways(rows: Sequence[PlannedRow], made: Sequence[Made], offsets: Iterable[int]) -> list[_Way]:
    """Sort rows and their new offsets by where they come from and where they went."""
    ways: dict[tuple[object, ...], _Way] = {}
    following = iter(offsets)
    for row, each in zip(rows, made, strict=True):
        if isinstance(each, Failure):
            continue
        kind = (
            row.topic,
            row.cluster,
            row.kafka_partition,
            row.kafka_offset is None,
            each.topic,
            each.partition,
        )
        way = ways.get(kind)
        if way is None:
            way = ways[kind] = _Way(lane_of(row), TopicPartition(each.topic, each.partition or 0))
        way.rows.append(row)
        way.offsets.append(next(following))
    return list(ways.values())


def _mark(before: Mark | None, way: _Way) -> Mark:
    size_bytes = sum([row.size for row in way.rows])
    first, last = min(way.offsets), max(way.offsets)
    uuid = way.rows[way.offsets.index(last)].uuid
    if before is None:
        return Mark(len(way.rows), size_bytes, first, last + 1, uuid)
    return Mark(
        before.messages + len(way.rows),
        before.bytes + size_bytes,
        min(before.first, first),
        max(before.end, last + 1),
        uuid if last >= before.end else before.last,
    )


def ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Put consecutive numbers together, as first and count."""
    if not numbers:
        return []
    whole = range(numbers[0], numbers[0] + len(numbers))
    if numbers[-1] == whole[-1] and list(whole) == numbers:
        return [(whole.start, len(whole))]
    found = []
    first = following = numbers[0]
    for number in numbers:
        if number != following:
            found.append((first, following - first))
            first = number
        following = number + 1
    return [*found, (first, following - first)]
