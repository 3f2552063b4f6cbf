"""What the folder holds, in memory: topics with their partitions, and the committed offsets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline.errors import NotFound
from pipeline.log.embedded.partition import Partition
from pipeline.log.embedded.snapshot import PartitionState, Snapshot, TopicState
from pipeline.log.partitioner import partition_for
from pipeline.log.port import NewRecord, TopicPartition, TopicSpec
from pipeline.log.topic_config import parse_config


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """Offsets a group commits together, as the journal holds them."""

    group: str
    offsets: tuple[tuple[str, int, int], ...]


class Topic:
    """A topic of the open log."""

    def __init__(self, name: str, config: Mapping[str, str], partitions: Sequence[Partition]) -> None:
        self.name = name
        self.config = dict(config)
        self.settings = parse_config(name, config)
        self.partitions = tuple(partitions)
        self._turn = itertools.count()

    def choose(self, key: bytes | None, turn: int) -> int:
        """Return the partition for a key; records without one go where `turn` says."""
        if key is None:
            return turn % len(self.partitions)
        return partition_for(key, len(self.partitions))

    def next_turn(self) -> int:
        """Return a number for records without a key: one append stays together, the next moves on."""
        return next(self._turn)


class Contents:
    """Changed by the writer thread (and at start), looked at by any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.topics: dict[str, Topic] = {}
        self._groups: dict[str, dict[TopicPartition, int]] = {}
        self._lock = threading.Lock()

    def load(self, snapshot: Snapshot) -> None:
        """Take over what a snapshot says."""
        for name, state in snapshot.topics.items():
            self._put_topic(name, state.config, state.partitions)
        for group, topics in snapshot.groups.items():
            self._groups[group] = {
                TopicPartition(topic, partition): offset
                for topic, offsets in topics.items()
                for partition, offset in offsets.items()
            }

    def add_topic(self, spec: TopicSpec) -> bool:
        """Add a topic; False and no change when it is there already."""
        if spec.name in self.topics:
            return False
        self._put_topic(spec.name, spec.config, [PartitionState()] * spec.partitions)
        return True

    def alter_topic(self, spec: TopicSpec) -> None:
        """Add the partitions a topic lacks and set the configuration given; what it has stays."""
        topic = self.topics[spec.name]
        added = range(len(topic.partitions), spec.partitions)
        partitions = [*topic.partitions, *(self._partition(spec.name, n, PartitionState()) for n in added)]
        # In one step, so that whoever looks meanwhile sees the topic before or after.
        self.topics[spec.name] = Topic(spec.name, {**topic.config, **spec.config}, partitions)

    def _partition(self, name: str, number: int, state: PartitionState) -> Partition:
        return Partition(TopicPartition(name, number), self.folder / f"{name}-{number}", state)

    def _put_topic(self, name: str, config: Mapping[str, str], states: Iterable[PartitionState]) -> None:
        partitions = [self._partition(name, number, state) for number, state in enumerate(states)]
        self.topics[name] = Topic(name, config, partitions)

    def commit(self, commit: Commit) -> None:
        """Store the offsets of a group."""
        with self._lock:
            offsets = self._groups.setdefault(commit.group, {})
            offsets.update((TopicPartition(topic, number), at) for topic, number, at in commit.offsets)

    def committed(self, group: str, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the stored offsets of a group."""
        with self._lock:
            offsets = self._groups.get(group, {})
            return {place: offsets[place] for place in places if place in offsets}

    def partition(self, place: TopicPartition) -> Partition:
        """Return a partition.

        Raises:
            NotFound: There is no such topic, or it has fewer partitions.
        """
        topic = self.topic(place[0])
        if not 0 <= place[1] < len(topic.partitions):
            raise NotFound(
                f"find partition {place[1]} of topic {place[0]}",
                f"it has partitions 0 to {len(topic.partitions) - 1}",
            )
        return topic.partitions[place[1]]

    def topic(self, name: str) -> Topic:
        """Return a topic; raises `NotFound`."""
        topic = self.topics.get(name)
        if topic is None:
            raise NotFound(f"find topic {name}", "the log has no topic of that name", "create it first")
        return topic

    def partition_of(self, record: NewRecord, turn: int) -> Partition:
        """Return where a record goes; raises `NotFound`."""
        if record.partition is not None:
            return self.partition(TopicPartition(record.topic, record.partition))
        topic = self.topic(record.topic)
        return topic.partitions[topic.choose(record.key, turn)]

    def partitions(self) -> list[Partition]:
        """Return every partition of every topic."""
        return [each for topic in list(self.topics.values()) for each in topic.partitions]

    def snapshot(self, journal: int, sequence: int) -> Snapshot:
        """Return what a snapshot has to say; all segments must be kept on disk already."""
        topics = {
            topic.name: TopicState(topic.config, tuple(each.state() for each in topic.partitions))
            for topic in list(self.topics.values())
        }
        groups: dict[str, dict[str, dict[int, int]]] = {}
        with self._lock:
            for group, offsets in self._groups.items():
                by_topic = groups.setdefault(group, {})
                for place, offset in offsets.items():
                    by_topic.setdefault(place.topic, {})[place.partition] = offset
        return Snapshot(journal=journal, sequence=sequence, topics=topics, groups=groups)
