"""Records of Kafka in our form: those in a broker's answer to a fetch, and those a consumer read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from aiokafka import ConsumerRecord, errors
from aiokafka.record.memory_records import MemoryRecords

from pipeline.log.kafka.lenient import records_in_batch
from pipeline.log.port import Fetched, Record, TopicPartition

_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
_LENGTH_END = 12
"""A batch begins with its offset and the number of bytes that follow that number."""
_APPEND_TIME = 1
"""Type of a timestamp, in Kafka's numbers: the broker's, not the sender's."""


def records_in(message_set: bytes, place: TopicPartition, offset: int) -> Fetched:
    """Return the records from an offset on; the first batch may begin before it.

    aiokafka's own consumer makes two objects of each record on the way here, which takes longer than all
    the rest.

    Raises:
        CorruptRecordException: A batch is not what was written.
    """
    records: list[Record] = []
    batches = MemoryRecords(message_set)
    following = offset
    end = 0
    while batches.has_next():
        batch = batches.next_batch()
        begin, end = end, end + _LENGTH.unpack_from(message_set, end + _LENGTH_AT)[0] + _LENGTH_END
        if not batch.validate_crc():
            raise errors.CorruptRecordException(f"a batch after offset {following} has a wrong checksum")
        if not batch.is_control_batch:
            try:
                found = _records(batch, place)
            except (errors.CorruptRecordException, UnicodeDecodeError):
                found = records_in_batch(message_set[begin:end], place)
            records += [record for record in found if record.offset >= offset]
        following = max(following, batch.next_offset)
    return Fetched(records, following)


def _records(batch: Iterable[Any], place: TopicPartition) -> list[Record]:
    topic, partition = place
    return [
        Record(
            topic,
            partition,
            each.offset,
            each.timestamp,
            each.key,
            each.value,
            tuple(each.headers),
            each.timestamp_type == _APPEND_TIME,
        )
        for each in batch
    ]


def records_of(read: Iterable[ConsumerRecord[Any, Any]]) -> list[Record]:
    """Return what a consumer of aiokafka read, in order."""
    return [
        Record(
            each.topic,
            each.partition,
            each.offset,
            each.timestamp,
            each.key,
            each.value,
            tuple(each.headers),
            each.timestamp_type == _APPEND_TIME,
        )
        for each in read
    ]


def consumer_records(records: Iterable[Record]) -> list[ConsumerRecord[Any, Any]]:
    """Return records as a consumer of aiokafka would have read them."""
    return [
        ConsumerRecord(
            each.topic,
            each.partition,
            each.offset,
            each.timestamp_ms,
            int(each.appended),
            each.key,
            each.value,
            None,
            -1 if each.key is None else len(each.key),
            -1 if each.value is None else len(each.value),
            each.headers,
        )
        for each in records
    ]
