"""What a log is to the rest of Headrace: topics of partitions of records, appended and read in order.

Two implementations keep this contract and pass one test suite: `pipeline.log.embedded` (a folder, one
process) and `pipeline.log.kafka`. Nothing else in the project knows which of them it talks to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of a topic, the unit of order."""

    topic: str
    partition: int


class Bounds(NamedTuple):
    """The offsets a partition holds: `start` is the first readable one, `end` the next to be written."""

    start: int
    end: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as it was read. `value` None is a tombstone; `headers` keep order and duplicates.

    Names of headers that are not UTF-8 hold lone surrogates (``surrogateescape``) and cannot be encoded as
    text again. `appended` says that the time is that of the log, not of whoever wrote the record.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    appended: bool = False


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record to append.

    `partition` None leaves the choice to the key (murmur2 as Kafka's default partitioner does it; no
    key means any partition); `timestamp_ms` None means now.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Placed(NamedTuple):
    """Where an appended record went."""

    topic: str
    partition: int
    offset: int


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it should be, or as it is.

    `config` holds Kafka's names: ``retention.ms``, ``cleanup.policy``. Of a topic that is, `replicas` 0
    means that its log keeps none.
    """

    name: str
    partitions: int = 1
    replicas: int = 1
    config: Mapping[str, str] = {}


class Fetched(NamedTuple):
    """What a fetch gave; `next` is where the next fetch goes on, past gaps."""

    records: list[Record]
    next: int


class Reader(Protocol):
    """A position in each of some partitions, moving forward as records are read.

    Readers are independent of each other and of consumer groups, and commit nothing.
    """

    async def read(self, *, max_records: int, wait_seconds: float) -> list[Record]:
        """Return the next records, in order within each partition.

        Waits at most `wait_seconds` for the first one; an empty list means none came. A position below
        the start of a partition moves to its start. Raises `Unavailable` when the log does not answer.
        """

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be read of each partition; past gaps that compaction left."""

    async def close(self) -> None:
        """Give up the position; safe to repeat."""


class Log(Protocol):
    """The operations every log offers. All raise `Unavailable` when the log cannot be reached in time."""

    async def open(self) -> None:
        """Connect, or take the folder and repair a torn end.

        Raises `Conflict` when another process holds the folder.
        """

    async def close(self) -> None:
        """Finish what was appended, then let go; safe to repeat."""

    async def create_topics(self, specs: Sequence[TopicSpec], *, alter: bool = False) -> list[str]:
        """Create the topics that do not exist and return their names; existing ones stay as they are.

        With `alter`, existing ones get the partitions they lack and the configuration of their spec; what
        it does not name stays, and so do their replicas. Doing it again changes nothing. Raises `Conflict`,
        before anything is changed, when one has more partitions than its spec.
        """

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicSpec]:
        """Return those of the topics that exist as they are; `config` holds what was set on the topic."""

    async def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic, by name."""

    async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records and return their places, in the order given, once all of them are durable.

        On failure some of them may have been written; appending again may repeat those, so readers
        must tell repeats by key. Raises before anything is written: `TooLarge` when one record is above
        the limit, `BadInput` when the name of a header is no UTF-8, `NotFound` for an unknown topic; and
        `StorageFull` when the disk is.
        """

    async def bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return the readable range of each partition."""

    async def fetch(
        self, place: TopicPartition, offset: int, *, max_records: int, max_bytes: int
    ) -> Fetched:
        """Return records of one partition from an offset on, without waiting for any to come.

        At most `max_records`, and of about `max_bytes`, but at least one when there is one; an offset
        below the start counts as the start. Records that were there leave gaps, which `next` passes over.
        """

    def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        """Return a reader that starts at the given offsets."""

    async def commit(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Store the next offset to read for a consumer group; durable when it returns."""

    async def committed(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the stored offsets of a consumer group; partitions it never committed are left out."""
