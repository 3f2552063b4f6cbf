"""What the log says of gaps: on the embedded log, and on Kafka where its own marks leave them."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import limits_archive
from pipeline.archive.figures.gap_causes import Cause, look
from pipeline.archive.figures.gaps import Gap, Gaps, PartitionKept
from pipeline.clock import ManualClock
from pipeline.log.connection import KafkaConnection
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, TopicSpec
from tests.doors import Door

KINDS = ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)]
START = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)


@pytest.fixture(params=KINDS)
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """Give an open log of each kind."""
    opened: Log = EmbeddedLog(tmp_path / "log")
    if request.param == "kafka":
        opened = KafkaLog(KafkaConnection(bootstrap_servers=(request.getfixturevalue("kafka_address"),)))
    await opened.open()
    yield opened
    await opened.close()


async def fill(log: Log, topic: str, records: int, partition: int = 0) -> None:
    """Append records one by one."""
    for number in range(records):
        await log.append([NewRecord(topic, b"%d" % number, b"x", partition=partition)])


async def causes(log: Log | None, topic: str, *gaps: tuple[int, int]) -> list[Cause]:
    """Look for gaps of the first partition."""
    kept = [PartitionKept(0, 0, 100, 50, 50, len(gaps))]
    found = await look(log, Gaps(topic, kept, [Gap(0, first, last) for first, last in gaps]))
    return [gap.cause for gap in found.gaps]


async def test_what_the_log_still_holds_is_said_to_be_readable(log: Log, unique: str) -> None:
    await log.create_topics([TopicSpec(unique, 2)])
    await fill(log, unique, 4, partition=1)
    found = await look(log, Gaps(unique, [PartitionKept(1, 0, 2, 2, 1, 1)], [Gap(1, 1, 1)]))
    assert [(gap.partition, gap.first, gap.offsets, gap.cause) for gap in found.gaps] == [
        (1, 1, 1, "in the log")
    ]
    assert [(one.partition, one.archived, one.log_start, one.log_end) for one in found.partitions] == [
        (0, 0, 0, 0),
        (1, 2, 0, 4),
    ]
    assert [one.waiting for one in found.partitions] == [0, 1]


@pytest.mark.kafka
async def test_the_markers_of_transactions_are_no_messages(kafka_address: str, unique: str) -> None:
    log = KafkaLog(KafkaConnection(bootstrap_servers=(kafka_address,)))
    await log.open()
    await log.create_topics([TopicSpec(unique, 1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=unique) as producer:
        for _ in range(2):
            async with producer.transaction():
                await producer.send_and_wait(unique, b"x")
    assert await causes(log, unique, (1, 1), (2, 2), (0, 1), (3, 3)) == [
        "nothing there",
        "in the log",
        "in the log",
        "nothing there",
    ]
    await log.close()


async def test_what_compaction_removed_is_no_message_any_more(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log")
    await log.open()
    await log.create_topics([TopicSpec("t", 1, config={"cleanup.policy": "compact", "segment.bytes": "1"})])
    for key in (b"a", b"b", b"b", b"b", b"c"):
        await log.append([NewRecord("t", key, b"x")])
    await log.tidy()
    await log.close()  # what memory still holds of the time before is gone with it
    await log.open()
    assert await causes(log, "t", (1, 2), (3, 3), (1, 3)) == ["nothing there", "in the log", "in the log"]
    await log.close()


async def test_before_the_start_of_the_log_nobody_can_tell(tmp_path: Path) -> None:
    clock = ManualClock(START)
    log = EmbeddedLog(tmp_path / "log", clock=clock)
    await log.open()
    await log.create_topics([TopicSpec("t", 1, config={"retention.ms": "1000", "segment.bytes": "1"})])
    await fill(log, "t", 5)
    await log.tidy()
    clock.advance(2)
    await fill(log, "t", 5)
    await log.tidy()
    found = await look(log, Gaps("t", [PartitionKept(0, 0, 9, 5, 5, 2)], [Gap(0, 1, 4), Gap(0, 3, 6)]))
    assert [gap.cause for gap in found.gaps] == ["gone", "in the log"]
    assert (found.partitions[0].log_start, found.partitions[0].waiting) == (5, 0)
    await log.close()


async def test_a_log_made_anew_says_nothing_of_what_was_archived_before(log: Log, unique: str) -> None:
    await log.create_topics([TopicSpec(unique, 1)])
    await fill(log, unique, 3)
    found = await look(log, Gaps(unique, [PartitionKept(0, 0, 50, 40, 11, 1)], [Gap(0, 10, 20)]))
    assert [gap.cause for gap in found.gaps] == ["not looked"]
    assert found.partitions[0].waiting == 0


async def test_no_more_gaps_than_the_limit_are_looked_for(log: Log, unique: str) -> None:
    many = limits_archive.ARCHIVE_GAPS_EXPLAINED
    await log.create_topics([TopicSpec(unique, 1)])
    await log.append([NewRecord(unique, b"k", b"x", partition=0) for _ in range(2 * many + 20)])
    found = await causes(log, unique, *((n, n) for n in range(1, 2 * many + 10, 2)))
    assert found == ["in the log"] * many + ["not looked"] * 5


async def test_another_log_or_none_hides_no_gap(log: Log, unique: str) -> None:
    gaps = Gaps(unique, [PartitionKept(0, 0, 2, 2, 1, 1)], [Gap(0, 1, 1)])
    for asked, why in ((log, "no such topic"), (None, "another log")):
        found = await look(asked, gaps)
        assert [(gap.first, gap.cause) for gap in found.gaps] == [(1, "not looked")]
        assert why in found.why
        assert found.partitions[0].log_end is None


@pytest.mark.kafka
async def test_a_log_that_is_away_hides_no_gap(kafka_address: str, unique: str) -> None:
    host, port = kafka_address.rsplit(":", 1)
    door = Door(host, int(port))
    await door.open()
    name = struct.pack(">h", len(host)) + host.encode()
    door.replaced = (name + struct.pack(">i", int(port)), name + struct.pack(">i", door.port))
    log = KafkaLog(KafkaConnection(bootstrap_servers=(f"127.0.0.1:{door.port}",)), timeout_seconds=0.2)
    await log.open()
    await door.shut()
    found = await look(log, Gaps(unique, [PartitionKept(0, 0, 2, 2, 1, 1)], [Gap(0, 1, 1)]))
    assert [gap.cause for gap in found.gaps] == ["not looked"]
    assert "list topics" in found.why
    await log.close()
