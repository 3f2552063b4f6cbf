"""From an archived message to the record it becomes again, or to what stands in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.archive import bson
from pipeline.archive.message import TEST_HEADER
from pipeline.archive.placeholder import placeholder
from pipeline.archive.restore.plan import PlannedRow
from pipeline.archive.restore.reading import Large, Read, read_rows
from pipeline.archive.restore.report import Failure, Options
from pipeline.archive.source.policy import OVERSIZED
from pipeline.log.partitioner import partition_for
from pipeline.log.port import NewRecord
from pipeline.log.record_size import record_size_bytes
from pipeline.objects.port import ObjectStore

BATCH_OVERHEAD_BYTES = 61
"""What Kafka puts around the records it takes together, and counts with them."""


class Target(msgspec.Struct, frozen=True):
    """A topic of the destination and what fits there."""

    name: str
    partitions: int
    record_max_bytes: int


class Standin(NewRecord, frozen=True, gc=False):
    """A record that stands in the place of a message too large for its topic."""


Made = NewRecord | Failure
"""What becomes of a message: a record, or the reason why there can be none."""


class Recorder:
    """Makes records of messages; the same ones each time, so that what was sent can be recognised.

    Args:
        targets: Where the messages of each topic go.
        options: Which headers, which partition, and where clients reach the archive.
    """

    def __init__(self, targets: Mapping[str, Target], options: Options) -> None:
        self._targets = targets
        self._as_sent = options.as_sent
        self._keep = options.partition == "keep"
        self._external_url = options.external_url

    async def read(self, objects: ObjectStore, rows: Sequence[PlannedRow]) -> list[Made]:
        """Read messages and give what becomes of each. Raises `Unavailable`."""
        # Annotations are only looked at to tell the headers that were sent.
        return await read_rows(objects, rows, self._make, whole=self._as_sent)

    def _make(self, row: PlannedRow, read: Read) -> Made:
        if isinstance(read, Failure):
            return read
        target = self._targets[row.topic]
        if isinstance(read, Large):
            return self._instead(row, read.document, target)
        record = self._record(row, read, target)
        if fits_surely(row, target) or _fits(record, target):
            return record
        return self._instead(row, read, target)

    def _record(self, row: PlannedRow, document: bson.Document, target: Target) -> NewRecord:
        key = document.key.encode() if isinstance(document.key, str) else document.key
        headers = document.headers_as_sent() if self._as_sent else document.headers
        return NewRecord(
            target.name,
            key,
            document.value,
            headers or (),
            self._partition(row, key, target),
            document.timestamp_ms,
        )

    def _instead(self, row: PlannedRow, document: bson.Document, target: Target) -> Made:
        """Give what stands for an upload that is too large (archive contract, section 13)."""
        if not row.topic.endswith(OVERSIZED):
            return _too_large(row, target, "raise max.message.bytes of the topic")
        if not self._external_url:
            return _too_large(row, target, "set archive.external_url, so that its address is sent instead")
        test = any(name == TEST_HEADER for name, _ in document.headers or ())
        address = placeholder(self._external_url, row.uuid, test=test)
        made = self._record(row, document, target)
        standin = Standin(
            made.topic, made.key, address.value, address.headers, made.partition, made.timestamp_ms
        )
        if _fits(standin, target):
            return standin
        return _too_large(row, target, "not even its address fits; raise max.message.bytes of the topic")

    def _partition(self, row: PlannedRow, key: bytes | None, target: Target) -> int:
        known = None if row.kafka_offset is None else row.kafka_partition
        if self._keep and known is not None:
            return known
        if key is not None:
            return partition_for(key, target.partitions)
        # Without a key what was in one partition stays in one, and so in order.
        return (known or 0) % target.partitions


def fits_surely(row: PlannedRow, target: Target) -> bool:
    """Say whether a message fits whatever it is: its document holds all of it and more."""
    return row.size + BATCH_OVERHEAD_BYTES <= target.record_max_bytes


def _fits(record: NewRecord, target: Target) -> bool:
    return record_size_bytes(record) + BATCH_OVERHEAD_BYTES <= target.record_max_bytes


def _too_large(row: PlannedRow, target: Target, todo: str) -> Failure:
    why = f"topic {target.name} takes {target.record_max_bytes} bytes, its document has {row.size}; {todo}"
    return Failure(row.uuid, row.topic, "too large", why)
