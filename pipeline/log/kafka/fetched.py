"""Records of Kafka in our form: those in a broker's answer to a fetch, and those a consumer read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka import ConsumerRecord, errors
from aiokafka.record.memory_records import MemoryRecords

from pipeline.log.port import Fetched, Record, TopicPartition


def records_in(message_set: bytes, place: TopicPartition, offset: int) -> Fetched:
    """Return the records from an offset on; the first batch may begin before it.

    aiokafka's own consumer makes two objects of each record on the way here, which takes longer than all
    the rest.

    Raises:
        CorruptRecordException: A batch is not what was written.
    """
    topic, partition = place
    records: list[Record] = []
    batches = MemoryRecords(message_set)
    following = offset
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise errors.CorruptRecordException(f"a batch after offset {following} has a wrong checksum")
        if not batch.is_control_batch:
            records += [
                Record(
                    topic,
                    partition,
                    each.offset,
                    each.timestamp,
                    each.key,
                    each.value,
                    tuple(each.headers),
                )
                for each in batch
                if each.offset >= offset
            ]
        following = max(following, batch.next_offset)
    return Fetched(records, following)


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
        )
        for each in read
    ]
