"""What the keeper has in hand: batches, the groups they are stored in, and the partitions they are of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

from pipeline import limits_archive, metrics_archive
from pipeline.archive.message import Message
from pipeline.clock import Clock
from pipeline.log.port import Record, TopicPartition
from pipeline.log.transport.batch import Batch

Layout = Literal["objects", "packs"]


class Taken:
    """A batch, acknowledged when all of it that is to be stored is settled.

    Args:
        batch: The batch.
        left: How many of its records are to be stored.
    """

    __slots__ = ("batch", "left")

    def __init__(self, batch: Batch, left: int) -> None:
        self.batch = batch
        self.left = left

    def settle(self, count: int) -> bool:
        """Note that so many more are durable; acknowledges, and says so, when none is left."""
        self.left -= count
        if self.left == 0:
            self.batch.acknowledge()
        return self.left == 0


class Group:
    """Records of one partition that are stored together, and the batches they came in.

    Args:
        lane: Their partition.
    """

    __slots__ = ("lane", "messages", "records", "shares", "size_bytes")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.records: list[Record] = []
        self.messages: list[Message] = []
        self.shares: list[tuple[Taken, int]] = []
        self.size_bytes = 0

    def add(self, taken: Taken, records: list[Record], messages: list[Message]) -> None:
        """Add records of a batch, and the messages they are."""
        self.records += records
        self.messages += messages
        self.shares.append((taken, len(records)))
        self.size_bytes += sum([len(record.value or b"") for record in records])

    @property
    def current(self) -> bool:
        """Whether storing it still counts: some of its batches were not lost to another worker."""
        return any(taken.batch.current for taken, _ in self.shares)


class Lane:
    """A partition.

    Args:
        place: Which.
        layout: How its messages are stored.
        now: The steady time of now, in seconds.
    """

    def __init__(self, place: TopicPartition, layout: Layout, now: float) -> None:
        self.place = place
        self.layout = layout
        self.collection: Group | None = None
        """The pack under way."""
        self.timer: asyncio.Task[None] | None = None
        """Closes that pack in time."""
        self.looking = asyncio.Lock()
        self.looked = False
        """Whether packs that others left unfinished were looked for."""
        self.records = 0
        self.size_bytes = 0
        self.working = 0
        self.pausing = 0
        self.moved_at = now

    def stalled(self, now: float) -> bool:
        """Whether it has work and does not get on with it."""
        waits = now - self.moved_at >= limits_archive.ARCHIVE_LANE_STALLED_SECONDS
        return self.pausing > 0 or (self.working > 0 and waits)


class Lanes:
    """All partitions of which something came, and how much of them is in flight.

    Args:
        clock: Tells for how long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lanes: dict[TopicPartition, Lane] = {}
        self._taken: dict[Taken, float] = {}
        self._records = 0

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def lane(self, place: TopicPartition, layout: Layout) -> Lane:
        """Give a partition, with that layout when it is new."""
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(place, layout, self._clock.monotonic())
        return lane

    def came(self, lane: Lane, taken: Taken, size_bytes: int) -> None:
        """Note a batch."""
        self._taken[taken] = self._clock.monotonic()
        lane.records += taken.left
        lane.size_bytes += size_bytes
        self._count(taken.left)

    def begin(self, group: Group) -> None:
        """Note that a group is being worked on."""
        if not group.lane.working:
            group.lane.moved_at = self._clock.monotonic()
        group.lane.working += 1

    def end(self, group: Group) -> None:
        """Note that nothing more is done about a group."""
        lane = group.lane
        lane.working -= 1
        lane.moved_at = self._clock.monotonic()
        self.leave(group)

    def leave(self, group: Group) -> None:
        """Note that a group is not in hand any more."""
        group.lane.records -= len(group.records)
        group.lane.size_bytes -= group.size_bytes
        self._count(-len(group.records))
        for taken, _ in group.shares:
            if not (taken.left and taken.batch.current):
                self._taken.pop(taken, None)

    def settle(self, group: Group) -> None:
        """Acknowledge what is settled by this group."""
        for taken, count in group.shares:
            taken.settle(count)

    def room(self) -> bool:
        """Whether more may come; what stalled partitions hold counts by itself, so that others go on."""
        now = self._clock.monotonic()
        held = [lane for lane in self._lanes.values() if lane.records]
        moving = [lane for lane in held if not lane.stalled(now)]
        return (
            sum(lane.records for lane in moving) < limits_archive.ARCHIVE_IN_FLIGHT_RECORDS
            and sum(lane.size_bytes for lane in moving) < limits_archive.ARCHIVE_IN_FLIGHT_BYTES
            and sum(lane.records for lane in held) < limits_archive.ARCHIVE_HELD_RECORDS
            and sum(lane.size_bytes for lane in held) < limits_archive.ARCHIVE_HELD_BYTES
        )

    def fullest(self) -> Lane | None:
        """Give the partition with the largest pack under way, if such packs take most of the room."""
        collecting = {lane: lane.collection for lane in self._lanes.values() if lane.collection is not None}
        records = sum(len(group.records) for group in collecting.values())
        size_bytes = sum(group.size_bytes for group in collecting.values())
        if (
            2 * records < limits_archive.ARCHIVE_IN_FLIGHT_RECORDS
            and 2 * size_bytes < limits_archive.ARCHIVE_IN_FLIGHT_BYTES
        ):
            return None
        return max(collecting, key=lambda lane: collecting[lane].size_bytes)

    def oldest_seconds(self) -> float:
        """Give the age of the oldest batch in hand, since it came."""
        first = next(iter(self._taken.values()), None)
        return 0.0 if first is None else self._clock.monotonic() - first

    def clear(self) -> None:
        """Let go of everything."""
        self._count(-self._records)
        self._lanes.clear()
        self._taken.clear()

    def _count(self, more: int) -> None:
        self._records += more
        metrics_archive.IN_FLIGHT.set(self._records)
