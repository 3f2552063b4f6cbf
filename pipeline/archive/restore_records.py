"""From an archived message to the record it becomes again, or to what stands in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pipeline.archive import bson
from pipeline.archive.message import TEST_HEADER
from pipeline.archive.placeholder import placeholder
from pipeline.archive.policy import OVERSIZED
from pipeline.archive.restore_plan import PlannedRow
from pipeline.archive.restore_reading import Large, Read, read_rows
from pipeline.archive.restore_report import Failure, Options
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


class Outgoing(NamedTuple):
    """A record to be sent, the row it comes from, and whether it stands in the place of its message."""

    row: PlannedRow
    record: NewRecord
    placeholder: bool


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

    async def read(self, objects: ObjectStore, rows: Sequence[PlannedRow]) -> list[Outgoing | Failure]:
        """Read messages and give the record of each, or why there can be none. Raises `Unavailable`."""
        # Annotations are only looked at to tell the headers that were sent.
        return await read_rows(objects, rows, self._record, whole=self._as_sent)

    def _record(self, row: PlannedRow, read: Read) -> Outgoing | Failure:
        if isinstance(read, Failure):
            return read
        target = self._targets[row.topic]
        large = isinstance(read, Large)
        document = read.document if isinstance(read, Large) else read
        key = document.key.encode() if isinstance(document.key, str) else document.key
        headers = document.headers_as_sent() if self._as_sent else document.headers
        record = NewRecord(
            target.name,
            key,
            document.value,
            headers or (),
            self._partition(row, key, target),
            document.timestamp_ms,
        )
        if not large and (fits_surely(row, target) or _fits(record, target)):
            return Outgoing(row, record, placeholder=False)
        if not row.topic.endswith(OVERSIZED):
            return _too_large(row, target, "raise max.message.bytes of the topic")
        if not self._external_url:
            return _too_large(row, target, "set archive.external_url, so that its address is sent instead")
        instead = self._placeholder(row, document, record)
        if not _fits(instead, target):
            return _too_large(
                row, target, "not even its address fits; raise max.message.bytes of the topic"
            )
        return Outgoing(row, instead, placeholder=True)

    def _partition(self, row: PlannedRow, key: bytes | None, target: Target) -> int:
        known = row.kafka_partition if row.kafka_offset is not None else None
        if self._keep and known is not None:
            return known
        if key is not None:
            return partition_for(key, target.partitions)
        # Without a key what was in one partition stays in one, and so in order.
        return (known or 0) % target.partitions

    def _placeholder(self, row: PlannedRow, document: bson.Document, record: NewRecord) -> NewRecord:
        """Give what stands for an upload that is too large (archive contract, section 13)."""
        test = any(name == TEST_HEADER for name, _ in document.headers or ())
        instead = placeholder(self._external_url, row.uuid, test=test)
        return msgspec.structs.replace(record, value=instead.value, headers=instead.headers)


def fits_surely(row: PlannedRow, target: Target) -> bool:
    """Say whether a message fits whatever it is: its document holds all of it and more."""
    return row.size + BATCH_OVERHEAD_BYTES <= target.record_max_bytes


def _fits(record: NewRecord, target: Target) -> bool:
    return record_size_bytes(record) + BATCH_OVERHEAD_BYTES <= target.record_max_bytes


def _too_large(row: PlannedRow, target: Target, todo: str) -> Failure:
    why = f"topic {target.name} takes {target.record_max_bytes} bytes, its document has {row.size}; {todo}"
    return Failure(row.uuid, row.topic, "too large", why)
