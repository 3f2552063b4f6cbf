"""Where consumers stand, for people who look: how far each lane is behind, and what is out at them.

Looks from outside, at what is durable: the offsets of the consumer groups (dispatcher contract, section
11.2) and the tables of agent `track`. So it is the same whichever process serves the consumer.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pipeline import limits
from pipeline.events.groups import LaneName
from pipeline.events.parked import ParkedEntry
from pipeline.hub.fetch.lane import Lane, lanes_of
from pipeline.hub.notices import Registered
from pipeline.hub.retries import LOST_TASK
from pipeline.hub.tasks import State, Task
from pipeline.log.lag import behind
from pipeline.log.port import Bounds, Log, TopicPartition


class LaneStanding(msgspec.Struct, frozen=True):
    """How far one subscription is."""

    lane: LaneName
    group: str
    """The consumer group that holds its position."""
    partitions: int
    """Partitions it reads; 0 while there is no such topic."""
    lag: int | None
    """Records between its position and the end, whatever the filter says of them, and retries of other
    consumers among them; None when it has no position."""


async def lanes_standing(
    log: Log, prefix: str, consumers: Sequence[Registered]
) -> list[list[LaneStanding]]:
    """Look at the lanes of each consumer, highest priority first, with one request a lane.

    Those that take no tasks have no retries, so that lane is left out.

    Raises:
        Unavailable: The log does not answer.
    """
    topics = await log.topics()
    lanes = [_lanes(prefix, each) for each in consumers]
    places = {lane.group: _places(lane, topics) for some in lanes for lane in some}
    turns = asyncio.Semaphore(limits.GROUPS_ASKED_AT_ONCE)

    async def committed(group: str) -> dict[TopicPartition, int]:
        async with turns:
            return await log.committed(group, places[group])

    positions = dict(zip(places, await asyncio.gather(*map(committed, places)), strict=True))
    # Asked after the positions, so that a consumer that moves meanwhile is never shown ahead of the end.
    bounds = await log.bounds(sorted({place for some in places.values() for place in some}))
    return [
        [_standing(lane, places[lane.group], positions[lane.group], bounds) for lane in some]
        for some in lanes
    ]


def _lanes(prefix: str, consumer: Registered) -> list[Lane]:
    wanted = consumer.wanted
    return lanes_of(prefix, wanted.consumer, tasks=wanted.is_task)


def _places(lane: Lane, topics: Mapping[str, int]) -> list[TopicPartition]:
    return [
        TopicPartition(name, number)
        for name, count in topics.items()
        if lane.reads(name)
        for number in range(count)
    ]


def _standing(
    lane: Lane,
    places: Sequence[TopicPartition],
    committed: Mapping[TopicPartition, int],
    bounds: Mapping[TopicPartition, Bounds],
) -> LaneStanding:
    there = {place: bounds[place] for place in places}
    lag = sum(behind(committed, there).values()) if committed else None
    return LaneStanding(lane.name, lane.group, len(places), lag)


class Out(msgspec.Struct, frozen=True):
    """What is out at a consumer."""

    tasks: dict[State, int]
    """Tasks in flight by state; states without any are left out."""
    retries: int
    """Those of them that were lost before."""
    parked: int
    """Lost tasks of its name and version that were given up and are parked."""


class Census:
    """Counts tasks and what is parked, once for all consumers.

    Args:
        tasks: All that are in flight.
        parked: Every entry.
    """

    def __init__(self, tasks: Iterable[Task], parked: Iterable[ParkedEntry]) -> None:
        self._states: defaultdict[tuple[str, ...], Counter[State]] = defaultdict(Counter)
        self._retries: Counter[tuple[str, ...]] = Counter()
        for task in tasks:
            owner = (task.consumer_key,) if task.consumer_key else (task.plugin, task.version)
            self._states[owner][task.state] += 1
            self._retries[owner] += task.attempt > 0
        self._parked = Counter(filter(None, map(lost_by, parked)))

    def out_at(self, consumer: Registered) -> Out:
        """Count for one consumer."""
        wanted = consumer.wanted
        owners: list[tuple[str, ...]] = [(consumer.key,)]
        if wanted.is_task:
            owners.append((wanted.name, wanted.version))
        states = sum((self._states[owner] for owner in owners if owner in self._states), Counter[State]())
        retries = sum(self._retries[owner] for owner in owners)
        return Out(dict(states), retries, self._parked[f"{wanted.name}.{wanted.version}"])


def belongs(task: Task, consumer: Registered) -> bool:
    """Say whether a task is one of a consumer: handed out under its key, or, of no key, to its plugin."""
    wanted = consumer.wanted
    if task.consumer_key:
        return task.consumer_key == consumer.key
    return wanted.is_task and (task.plugin, task.version) == (wanted.name, wanted.version)


def lost_by(entry: ParkedEntry) -> str | None:
    """Return ``name.version`` of the plugin whose lost task is parked, None when it is something else."""
    if entry.reason != LOST_TASK or entry.state != "parked":
        return None
    # The key is that of the task: the event's, which has no dot, and the plugin's name and version.
    return (entry.key or b"").decode(errors="replace").partition(".")[2] or None
