"""A message as it was read from a topic, or handed in; the archive changes none of its bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.log.port import Headers, Record

TEST_HEADER = "_test"


class Content(msgspec.Struct, frozen=True, gc=False):
    """What upstream tells repeats by: topic, time in ms, CRC-32 of the payload."""

    topic: str
    timestamp_ms: int
    crc32: int


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a message stood in Kafka. The time belongs to it because a re-created topic reuses offsets."""

    cluster: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message with everything the broker says about it (archive contract, section 4).

    `partition` and `offset` are None together, for messages that never stood in a log (a mock source, an
    upload). `headers` None means the broker gave none; names and values are as delivered, in order, with
    duplicates, values bytes or None. `value` None is a tombstone.
    """

    topic: str
    partition: int | None
    offset: int | None
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    timestamp_type: Literal["create", "append"] | None = None
    direct_upload: bool = False

    @classmethod
    def of(cls, record: Record) -> Message:
        """Take a record of the log."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            record.key,
            record.value,
            record.headers or None,
            "append" if record.appended else "create",
        )

    @property
    def payload(self) -> bytes:
        """Give the value's bytes; a tombstone has none."""
        return b"" if self.value is None else self.value

    @property
    def is_test(self) -> bool:
        """Say whether its sender marked it as a test, which the archive skips unless told otherwise."""
        for name, _ in self.headers or ():  # noqa: SIM110 -- half the time, once for every message
            if name == TEST_HEADER:
                return True
        return False

    def place(self, cluster: str) -> Place | None:
        """Give where it stood in the log of that cluster, None when it never stood in one."""
        if self.partition is None or self.offset is None:
            return None
        return Place(cluster, self.topic, self.partition, self.offset, self.timestamp_ms)
