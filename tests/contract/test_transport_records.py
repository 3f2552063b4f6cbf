"""Records reach an agent as they were written, whatever they hold."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.log.connection import KafkaConnection
from pipeline.log.port import NewRecord, Record, TopicPartition, TopicSpec
from tests.contract.transport_site import Site, kafka_site, running, taking, until
from tests.odd_records import ODD_NAME, append_odd

pytestmark = pytest.mark.timeout(120)
ODD_HEADERS = (("plain", b"1"), (ODD_NAME.decode("utf-8", "surrogateescape"), None))


async def test_null_and_empty_are_never_mixed_up(site: Site) -> None:
    topic = await site.topic()
    written = [
        NewRecord(topic, None, None, timestamp_ms=1_700_000_000_000),
        NewRecord(topic, b"", b"", (("", b""),), timestamp_ms=0),
        NewRecord(topic, b"k", b"v", (("n", None), ("n", b""), ("n", b"1"), ("n", b"1")), timestamp_ms=1),
    ]
    await site.log.append(written)
    app = site.app(site.group())
    taken = taking(app, topic, acknowledge=True)
    async with running(app):
        await until(lambda: len(taken.records) == len(written))
    assert taken.records == [
        Record(topic, 0, offset, new.timestamp_ms or 0, new.key, new.value, new.headers)
        for offset, new in enumerate(written)
    ]


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
async def test_it_is_told_whose_time_a_record_has(
    kafka_address: str, unique: str, tmp_path: Path, kind: str
) -> None:
    async with kafka_site(kafka_address, tmp_path, unique) as site:
        topic = f"{unique}.in"
        await site.log.create_topics([TopicSpec(topic, 1, 1, {"message.timestamp.type": kind})])
        await site.log.append([NewRecord(topic, b"k", b"v", timestamp_ms=1_700_000_000_000)])
        app = site.app(site.group())
        taken = taking(app, topic, acknowledge=True)
        async with running(app):
            await until(lambda: bool(taken.records))
        (record,) = taken.records
        fetched = await site.log.fetch(TopicPartition(topic, 0), 0, max_records=1, max_bytes=1 << 20)
        assert fetched.records == [record]
        assert record.appended is (kind == "LogAppendTime")
        assert (record.timestamp_ms == 1_700_000_000_000) is not record.appended


@pytest.mark.kafka
async def test_a_header_name_that_is_no_text_never_stops_the_partition_or_loses_others(
    kafka_address: str, unique: str, tmp_path: Path
) -> None:
    """Kafka takes any bytes as a name; its client library refuses them, and the whole batch with them."""
    connection, now_ms = KafkaConnection((kafka_address,)), int(time.time() * 1000)
    async with kafka_site(kafka_address, tmp_path, unique) as site:
        topic = await site.topic(2)
        app = site.app(site.group(), partitions=2)
        taken = taking(app, topic, acknowledge=True)
        async with running(app):
            await site.feed(topic, 30, partition=1)
            await site.feed(topic, 5)
            await append_odd(connection, topic, [b"5", b"6", None, b"8"], odd=2, start_ms=now_ms)
            await append_odd(connection, topic, [b"9"], odd=0, start_ms=now_ms)
            await site.feed(topic, 5, start=10)
            await site.feed(topic, 30, partition=1, start=30)
            await until(lambda: len(taken.records) >= 75)
        found = [record for record in taken.records if record.partition == 0]
        assert [record.offset for record in found] == list(range(15))
        assert [record.value for record in found] == [b"%d" % n if n != 7 else None for n in range(15)]
        assert [record.offset for record in taken.records if record.partition == 1] == list(range(60))
        assert {record.offset for record in found if record.headers == ODD_HEADERS} == {7, 9}
        assert await site.committed(site.group(), topic) == 15
        # What reads without a consumer group gets past it too.
        fetched = await site.log.fetch(TopicPartition(topic, 0), 6, max_records=3, max_bytes=1 << 20)
        assert fetched.records == [
            Record(topic, 0, 6, now_ms + 1, b"k", b"6"),
            Record(topic, 0, 7, now_ms + 2, b"k", None, ODD_HEADERS),
            Record(topic, 0, 8, now_ms + 3, b"k", b"8"),
        ]
        both = [TopicPartition(topic, number) for number in range(2)]
        reader = site.log.reader(dict.fromkeys(both, 0))
        read: list[Record] = []
        while len(read) < len(taken.records):
            read += (part := await reader.read(max_records=7, wait_seconds=10))
            assert part, "the reader stands still"
        assert sorted(read, key=_place) == sorted(taken.records, key=_place)
        assert [each.offset for each in read if not each.partition] == list(range(15))
        assert reader.positions() == {both[0]: 15, both[1]: 60}


def _place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset
