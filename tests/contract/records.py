"""Topics and records for the contract suites of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.log.port import Log, NewRecord, Reader, Record, TopicPartition, TopicSpec

WAIT_SECONDS = 20.0


async def make_topic(log: Log, name: str, partitions: int = 1, **config: str) -> list[TopicPartition]:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    assert await log.create_topics([TopicSpec(name, partitions, config=settings)]) == [name]
    return [TopicPartition(name, number) for number in range(partitions)]


async def read(log: Log, positions: Mapping[TopicPartition, int], count: int) -> list[Record]:
    """Read exactly `count` records from the positions on."""
    reader = log.reader(positions)
    try:
        return await read_from(reader, count)
    finally:
        await reader.close()


async def read_from(reader: Reader, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        batch = await reader.read(max_records=count - len(records), wait_seconds=WAIT_SECONDS)
        assert batch, f"only {len(records)} of {count} records came"
        records += batch
    return records


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def numbered(topic: str, count: int, *, start: int = 0, partition: int | None = 0) -> list[NewRecord]:
    return [
        NewRecord(topic, b"key", b"%d" % number, partition=partition)
        for number in range(start, start + count)
    ]
