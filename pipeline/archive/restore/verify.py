"""The proof of a restore: the destination read again and compared with the archive, message by message."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from uuid import UUID

import msgspec

from pipeline import limits_archive
from pipeline.archive.restore.journal import Begin, Journal, Step
from pipeline.archive.restore.map import ranges_of
from pipeline.archive.restore.plan import Plan, Position, Window, lane_of
from pipeline.archive.restore.records import Made, Recorder
from pipeline.archive.restore.report import Compared, Difference, Failure, Verified
from pipeline.archive.restore.selection import Lane
from pipeline.archive.restore.sending import Content, content_of, records_between
from pipeline.log.port import Log, Record, TopicPartition
from pipeline.objects.port import ObjectStore

_FIELDS = ("time", "key", "value", "headers")
_Places = dict[tuple[Lane, int], deque[tuple[TopicPartition, int]]]


class _Wanted(NamedTuple):
    """What should stand in a place; `content` is None when the archive cannot say."""

    uuid: UUID
    content: Content | None
    why: str = ""


class Verifier:
    """Compares what a journal says was sent with the archive and with the destination.

    Both are read from the start, one window at a time.

    Args:
        objects: The archive's store.
        destination: The log.
        plan: What was restored.
        recorder: Makes the records that were sent.
        begin: Where the partitions ended when the restore began.
        told: Called with the messages and bytes compared so far.
    """

    def __init__(
        self,
        objects: ObjectStore,
        destination: Log,
        plan: Plan,
        recorder: Recorder,
        begin: Begin,
        *,
        told: Callable[[int, int], None],
    ) -> None:
        self._objects = objects
        self._destination = destination
        self._plan = plan
        self._recorder = recorder
        self._told = told
        self._partitions = {
            TopicPartition(topic, partition): _Partition(topic, partition, end)
            for topic, partition, end in begin.starts
        }
        self._differences: list[Difference] = []
        self._differing = 0

    async def compare(self, journal: Journal) -> Verified:
        """Compare everything and say what was found.

        Raises:
            Unavailable: A part does not answer.
        """
        places = list(self._partitions)
        ends = {place: bounds.end for place, bounds in (await self._destination.bounds(places)).items()}
        after: Position | None = None
        messages = size_bytes = 0
        async for step in journal.steps():
            if step.done is None or step.done == after:
                continue
            moved = _moved(step)
            async for window in self._plan.windows(after, until=step.done):
                await self._compare_window(window, moved)
                messages += len(window.rows)
                size_bytes += window.size_bytes
                self._told(messages, size_bytes)
            self._note_unknown(moved)
            after = step.done
        for place, partition in self._partitions.items():
            await self._read_on(place, partition, {}, ends[place])
        touched = [each.compared() for _, each in sorted(self._partitions.items()) if each.messages]
        repeated = any(each.repeated for each in touched)
        return Verified(not self._differing and not repeated, touched, self._differences)

    async def _compare_window(self, window: Window, moved: _Places) -> None:
        made = await self._recorder.read(self._objects, window.rows)
        wanted: dict[TopicPartition, dict[int, _Wanted]] = {}
        for row, each in zip(window.rows, made, strict=True):
            places = moved.get((lane_of(row), row.number))
            if not places:
                continue  # it could not be sent
            place, offset = places.popleft()
            wanted.setdefault(place, {})[offset] = _wanted(row.uuid, each)
        for place, in_place in wanted.items():
            await self._read_on(place, self._partitions[place], in_place, max(in_place) + 1)

    async def _read_on(
        self, place: TopicPartition, partition: _Partition, wanted: Mapping[int, _Wanted], end: int
    ) -> None:
        """Compare a partition from where it was read to up to an offset."""
        partition.expect(wanted.values())
        left = dict(sorted(wanted.items()))
        async for record in records_between(self._destination, place, partition.position, end):
            asked = left.pop(record.offset, None)
            if asked is None:
                partition.take_other(record)
            elif what := partition.take(asked, record):
                self._note(place, record.offset, asked.uuid, what)
        for offset, asked in left.items():
            partition.miss(asked)
            self._note(place, offset, asked.uuid, "it is not there")
        partition.position = max(partition.position, end)

    def _note_unknown(self, moved: _Places) -> None:
        """Note what was sent and of which the archive has no row any more."""
        for places in moved.values():
            for place, offset in places:
                self._note(place, offset, None, "the archive has it no more")

    def _note(self, place: TopicPartition, offset: int, uuid: UUID | None, what: str) -> None:
        self._differing += 1
        if len(self._differences) < limits_archive.RESTORE_FAILURES_SHOWN:
            self._differences.append(Difference(place.topic, place.partition, offset, uuid, what))


class _Partition:
    """One partition of the destination and what was found there so far."""

    def __init__(self, topic: str, partition: int, position: int) -> None:
        self.topic = topic
        self.partition = partition
        self.position = position
        self.messages = self.found = self.missing = self.different = self.repeated = self.others = 0
        self.crc32 = self.found_crc32 = 0
        self._now: set[Content] = set()
        self._before: set[Content] = set()

    def expect(self, wanted: Collection[_Wanted]) -> None:
        """Take note of what comes, so that a second one of these or of those before is noticed."""
        if wanted:
            self._before, self._now = self._now, {each.content for each in wanted if each.content}

    def take(self, wanted: _Wanted, record: Record) -> str:
        """Compare a record with what should stand in its place; say what differs."""
        self.messages += 1
        content = content_of(record)
        self.found_crc32 = zlib.crc32(msgspec.msgpack.encode(content), self.found_crc32)
        if wanted.content is None:
            self.different += 1
            return f"it cannot be compared: {wanted.why}"
        self.crc32 = zlib.crc32(msgspec.msgpack.encode(wanted.content), self.crc32)
        if content == wanted.content:
            self.found += 1
            return ""
        self.different += 1
        pairs = zip(_FIELDS, wanted.content, content, strict=True)
        return f"other {', '.join(name for name, was, now in pairs if was != now)}"

    def miss(self, wanted: _Wanted) -> None:
        """Take note of a message that is not in its place."""
        self.messages += 1
        self.missing += 1
        if wanted.content is not None:
            self.crc32 = zlib.crc32(msgspec.msgpack.encode(wanted.content), self.crc32)

    def take_other(self, record: Record) -> None:
        """Take note of a record that this restore did not put there, as far as is known."""
        content = content_of(record)
        if content in self._now or content in self._before:
            self.repeated += 1
        else:
            self.others += 1

    def compared(self) -> Compared:
        """Give what was found."""
        return Compared(
            self.topic,
            self.partition,
            self.messages,
            self.found,
            self.crc32,
            self.found_crc32,
            self.missing,
            self.different,
            self.repeated,
            self.others,
        )


def _wanted(uuid: UUID, made: Made) -> _Wanted:
    if isinstance(made, Failure):
        return _Wanted(uuid, None, f"{made.kind}: {made.reason}")
    return _Wanted(uuid, content_of(made))


def _moved(step: Step) -> _Places:
    """Give the places of the messages of a line by what they were; two that were at one offset in turn."""
    moved: _Places = {}
    for run in step.runs:
        place = TopicPartition(run.topic, run.partition)
        for each in ranges_of(run):
            for number in range(each.count):
                places = moved.setdefault((run.lane, each.first + number), deque())
                places.append((place, each.to_first + number))
    return moved
