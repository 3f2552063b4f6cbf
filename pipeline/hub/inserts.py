"""Which files people declared children of which, as agent `inject` knows it.

The insert topic is followed from its start; an insert replaces the one with the same key, a tombstone
removes it (dispatcher contract, sections 4.5 and 22).
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import BadInput, EventCorrupt, EventInvalid, TooLarge
from pipeline.events import validity
from pipeline.events.codec import decode_stored
from pipeline.events.insert import InsertEvent
from pipeline.events.topic_names import system_topic
from pipeline.log.follower import Follower
from pipeline.log.port import Log, Record, TopicPartition

_log = structlog.get_logger(__name__)


class Insert(NamedTuple):
    """One declared child."""

    event: InsertEvent
    timestamp_ms: int
    """When the log took it in, in unix milliseconds."""


class Inserts(Follower):
    """All declared children by their parents, kept up to date; they are held encoded.

    Args:
        log: An open log.
        prefix: Whose insert topic.
        clock: Spaces the tries when the log does not answer.
        max_bytes: Inserts held at most; with more of them the following ends.
    """

    def __init__(
        self, log: Log, prefix: str, clock: Clock, *, max_bytes: int = limits.INSERTS_MAX_BYTES
    ) -> None:
        super().__init__(log, system_topic(prefix, "insert"), clock)
        self._max_bytes = max_bytes
        self.forget()

    def __len__(self) -> int:
        """Count the inserts."""
        return len(self._records)

    def __contains__(self, sha256: str) -> bool:
        """Say whether a file was declared the parent of any."""
        return sha256 in self._keys

    def of(self, parent_sha256: str) -> list[Insert]:
        """Return the children declared of a file, in the order in which they were declared."""
        records = [self._records[key] for key in self._keys.get(parent_sha256, ())]
        return [Insert(_decoded(record), record.timestamp_ms) for record in records]

    def take(self, record: Record) -> None:
        """Take in one insert, or a removal; what cannot be read declares nothing.

        Raises:
            TooLarge: There are more than are held.
        """
        key = record.key or b""
        self._remove(key)
        if record.value is None:
            return
        try:
            parent = _decoded(record).entity.parent_sha256
        except BadInput as error:
            place = f"{record.topic}[{record.partition}] at {record.offset}"
            _log.warning("an insert event cannot be read", place=place, reason=str(error))
            return
        self._records[key] = record
        self._parents[key] = parent
        self._keys[parent][key] = None
        self._size_bytes += len(key) + len(record.value)
        if self._size_bytes > self._max_bytes:
            raise TooLarge(
                "hold the declared children",
                f"the inserts on topic {self.topic} have more than {self._max_bytes} bytes",
                "remove some with tombstones",
            )

    def _remove(self, key: bytes) -> None:
        record, parent = self._records.pop(key, None), self._parents.pop(key, None)
        if record is None or parent is None:
            return
        self._size_bytes -= len(key) + len(record.value or b"")
        del self._keys[parent][key]
        if not self._keys[parent]:
            del self._keys[parent]

    def forget(self) -> None:
        """Let go of everything."""
        self._records: dict[bytes, Record] = {}
        self._parents: dict[bytes, str] = {}
        self._keys: defaultdict[str, dict[bytes, None]] = defaultdict(dict)
        self._size_bytes = 0


async def any_insert(log: Log, prefix: str) -> bool:
    """Say whether there is anything on the insert topic, without following it.

    Raises:
        Unavailable: The log does not answer.
    """
    topic = system_topic(prefix, "insert")
    count = (await log.topics()).get(topic, 0)
    bounds = await log.bounds([TopicPartition(topic, number) for number in range(count)])
    return any(there.end > there.start for there in bounds.values())


def _decoded(record: Record) -> InsertEvent:
    event = decode_stored("insert", record.value)
    if not isinstance(event, InsertEvent):
        raise EventCorrupt("read an insert event", "it is empty")
    reason = validity.fault(event)
    if reason is not None:
        raise EventInvalid("read an insert event", reason)
    return event
