"""Completed statuses with their results, remembered for a while. Off unless a setting gives them memory.

They are published to topic ``system.replay`` in one append with what else comes of them, and every process
that hands out follows it, so they are known over restarts and wherever they were published. Contract:
dispatcher section 9, step 2, where they are known to one process until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import EventCorrupt, TooLarge
from pipeline.events.codec import encode
from pipeline.events.models import Event
from pipeline.events.names import COMPLETED
from pipeline.events.status import StatusEvent
from pipeline.events.topics import REPLAY, system_topic
from pipeline.log.follower import Follower
from pipeline.log.port import Log, NewRecord, Record
from pipeline.log.record_size import check_size

STEP: Final = "ReplayPluginCompletion"
"""Name of the step, of publishing and of handing out."""


class _Entry(NamedTuple):
    since_ms: int
    value: bytes


class Completions(Follower):
    """The newest completed status for each file, plugin and version, in stored form; oldest out.

    Args:
        log: An open log.
        prefix: Of the topics.
        clock: Tells what is over.
        max_bytes: Keys and statuses held at most; 0 remembers nothing.
        min_runtime_seconds: Only what took longer is remembered.
        keep_seconds: For how long.
    """

    def __init__(
        self,
        log: Log,
        prefix: str,
        clock: Clock,
        *,
        max_bytes: int,
        min_runtime_seconds: float,
        keep_seconds: float,
    ) -> None:
        super().__init__(log, system_topic(prefix, REPLAY), clock)
        self._clock = clock
        self._max_bytes = max_bytes
        self._min_runtime_seconds = min_runtime_seconds
        self._keep_ms = keep_seconds * 1000
        self._entries: dict[bytes, _Entry] = {}
        self._size_bytes = 0

    @property
    def on(self) -> bool:
        """Anything is remembered at all."""
        return self._max_bytes > 0

    def records_of(self, events: Iterable[Event]) -> list[NewRecord]:
        """Make the records that remember statuses as posted, those that are to be remembered.

        Others are no successes, were quick, or are too large.
        """
        made = (self._record_of(event) for event in events if isinstance(event, StatusEvent))
        return [record for record in made if record is not None]

    def _record_of(self, status: StatusEvent) -> NewRecord | None:
        entity = status.entity
        if entity.status not in COMPLETED or entity.runtime <= self._min_runtime_seconds:
            return None
        key = _key(entity.input.entity.sha256, status.author.name, status.author.version)
        try:
            record = NewRecord(self.topic, key, encode(status), timestamp_ms=self._now_ms())
            check_size(record)
        except (TooLarge, EventCorrupt):
            return None  # events that cannot be written themselves are reported where they are written
        fits = len(key) + len(record.value or b"") <= self._max_bytes // limits.HUB_REPLAY_PARTS
        return record if fits else None

    def remember(self, records: Iterable[NewRecord]) -> None:
        """Know statuses from now on; their records are durable."""
        for record in records:
            self._put(record.key or b"", _Entry(record.timestamp_ms or 0, record.value or b""))

    def get(self, sha256: str, plugin: str, version: str) -> bytes | None:
        """Return the stored form of what a plugin made of a file lately, None when that is not known."""
        key = _key(sha256, plugin, version)
        entry = self._entries.get(key)
        return None if entry is None or self._over(entry) else entry.value

    def take(self, record: Record) -> None:
        """Take in one status."""
        self._put(record.key or b"", _Entry(record.timestamp_ms, record.value or b""))

    def forget(self) -> None:
        """Let go of everything."""
        self._entries.clear()
        self._size_bytes = 0

    def _put(self, key: bytes, entry: _Entry) -> None:
        self._drop(key)
        if entry.value:
            self._entries[key] = entry
            self._size_bytes += len(key) + len(entry.value)
        while self._entries:
            oldest = next(iter(self._entries))
            if self._size_bytes <= self._max_bytes and not self._over(self._entries[oldest]):
                return
            self._drop(oldest)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= len(key) + len(entry.value)

    def _over(self, entry: _Entry) -> bool:
        return entry.since_ms + self._keep_ms <= self._now_ms()

    def _now_ms(self) -> int:
        return round(self._clock.unix() * 1000)


def _key(sha256: str, plugin: str, version: str) -> bytes:
    return f"{sha256}-{plugin}-{version}".encode()
