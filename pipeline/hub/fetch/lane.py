"""One subscription of a consumer: how far it is in each partition, and what it has out.

A position moves on when what was read before it is answered for. It is committed as the offset of an
ordinary consumer group, so tools that show lag see it. Contract: dispatcher sections 11.1, 11.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pipeline.events.groups import Consumer, LaneName, group_name
from pipeline.events.topics import ERROR, EXPEDITE, binary_pattern, system_topic
from pipeline.log.port import TopicPartition

RETRY: Final = "retry"
HISTORIC: Final = "historic"


class Span:
    """Events of one stretch of a partition that are out at a client, or on their way."""

    __slots__ = ("first", "lane", "left", "place")

    def __init__(self, lane: Lane, place: TopicPartition, first: int, left: int) -> None:
        self.lane = lane
        self.place = place
        self.first = first
        """Offset of the first of them."""
        self.left = left
        """How many are not answered for."""

    @property
    def out(self) -> bool:
        """Whether its lane still waits for it; a lane that was placed anew does not."""
        return self.lane.waits_for(self)

    def answered(self) -> None:
        """Note that one of them has reached its client."""
        self.left -= 1
        if not self.left:
            self.lane.close(self)


class Lane:
    """A subscription with its positions.

    Args:
        name: Which.
        group: Consumer group its positions are committed for.
        reads: Says whether a topic is read.
    """

    def __init__(self, name: LaneName, group: str, reads: Callable[[str], bool]) -> None:
        self.name = name
        self.group = group
        self.reads = reads
        self.next: dict[TopicPartition, int] = {}
        """The next offset to look at; a partition is read when it is in here."""
        self.committed: dict[TopicPartition, int] = {}
        self._out: dict[TopicPartition, set[Span]] = {}
        self._turn = 0

    def rotation(self) -> list[TopicPartition]:
        """Return the partitions, beginning with another one each time so that none is always last."""
        places = list(self.next)
        self._turn = (self._turn + 1) % max(len(places), 1)
        return places[self._turn :] + places[: self._turn]

    def hand_out(self, place: TopicPartition, first: int, count: int) -> Span:
        """Note that `count` events from offset `first` on are handed out."""
        span = Span(self, place, first, count)
        self._out.setdefault(place, set()).add(span)
        return span

    def close(self, span: Span) -> None:
        """Forget a span that is answered for."""
        self._out.get(span.place, set()).discard(span)

    def waits_for(self, span: Span) -> bool:
        """Say whether a span is handed out and not answered for."""
        return span in self._out.get(span.place, ())

    def clear(self) -> None:
        """Have no position, and wait for nothing that is out."""
        self.next = {}
        self._out = {}

    def due(self) -> Mapping[TopicPartition, int]:
        """Return the positions that differ from the committed ones."""
        return {
            place: position
            for place, following in self.next.items()
            if (position := self._position(place, following)) != self.committed.get(place)
        }

    def _position(self, place: TopicPartition, following: int) -> int:
        return min((span.first for span in self._out.get(place, ())), default=following)


def lanes_of(prefix: str, consumer: Consumer, *, tasks: bool) -> list[Lane]:
    """Make the lanes of a consumer, highest priority first: expedite, retry, live, historic.

    The retry lane, for those who take binary events as tasks, has what comes back to its consumer alone.
    """

    def lane(name: LaneName, reads: Callable[[str], bool]) -> Lane:
        return Lane(name, group_name(prefix, consumer.key, name), reads)

    if consumer.model != "binary":
        topic = system_topic(prefix, consumer.model)
        return [lane(name, topic.__eq__) for name in consumer.subscriptions]
    pattern = binary_pattern(prefix, consumer.sources, consumer.actions)
    lanes = [
        lane(name, system_topic(prefix, EXPEDITE).__eq__ if name == EXPEDITE else _matching(pattern.match))
        for name in consumer.subscriptions
    ]
    if tasks:
        behind_expedite = 1 if EXPEDITE in consumer.subscriptions else 0
        lanes.insert(behind_expedite, lane(RETRY, system_topic(prefix, ERROR).__eq__))
    return lanes


def _matching(match: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda topic: match(topic) is not None
