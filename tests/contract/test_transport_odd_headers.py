"""A header whose name is not UTF-8 stops nobody: Kafka takes any bytes, the client library refuses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.log.connection import KafkaConnection
from pipeline.log.port import Record, TopicPartition
from tests.contract.transport_site import kafka_site, running, taking, until
from tests.odd_records import ODD_NAME, append_odd

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
ODD_HEADERS = (("plain", b"1"), (ODD_NAME.decode("utf-8", "surrogateescape"), None))


async def test_a_header_name_that_is_no_text_never_stops_the_partition_or_loses_others(
    kafka_address: str, unique: str, tmp_path: Path
) -> None:
    connection = KafkaConnection((kafka_address,))
    async with kafka_site(kafka_address, tmp_path, unique) as site:
        topic = await site.topic(2)
        app = site.app(site.group(), partitions=2)
        taken = taking(app, topic, acknowledge=True)
        async with running(app):
            await site.feed(topic, 30, partition=1)
            await site.feed(topic, 5)
            await append_odd(connection, topic, [b"5", b"6", None, b"8"], odd=2)
            await append_odd(connection, topic, [b"9"], odd=0)
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
            Record(topic, 0, 6, 1_700_000_000_001, b"k", b"6"),
            Record(topic, 0, 7, 1_700_000_000_002, b"k", None, ODD_HEADERS),
            Record(topic, 0, 8, 1_700_000_000_003, b"k", b"8"),
        ]
