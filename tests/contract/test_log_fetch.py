"""Fetching records by offset; the same tests over the embedded log and a real Kafka."""

from __future__ import annotations

import pytest

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.log.port import Fetched, Log, NewRecord, Record, TopicPartition
from tests.contract.records import make_topic, numbered, read


async def fetch(log: Log, place: TopicPartition, offset: int, **limited: int) -> Fetched:
    return await log.fetch(place, offset, **{"max_records": 1000, "max_bytes": limits.MIB, **limited})


async def test_a_fetch_gives_what_is_there_from_any_offset_on(log: Log, unique: str) -> None:
    one, two = await make_topic(log, unique, 2)
    for start in range(0, 50, 10):
        await log.append(numbered(unique, 10, start=start))
    for offset in (0, 1, 9, 10, 25, 49):
        found = await fetch(log, one, offset)
        assert found.records == await read(log, {one: offset}, 50 - offset)
        assert found.next == 50
    assert await fetch(log, one, 50) == Fetched([], 50)
    assert await fetch(log, two, 0) == Fetched([], 0)


async def test_a_record_is_fetched_whole(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    headers = (("a", b"1"), ("a", None), ("", b""))
    await log.append(
        [
            NewRecord(unique, None, b"", headers, 0, 1_700_000_000_123),
            NewRecord(unique, b"", None, (), 0, 1_700_000_000_124),
        ]
    )
    assert (await fetch(log, place, 0)).records == [
        Record(unique, 0, 0, 1_700_000_000_123, None, b"", headers),
        Record(unique, 0, 1, 1_700_000_000_124, b"", None, ()),
    ]


async def test_fetches_go_on_where_the_one_before_ended(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    await log.append(numbered(unique, 100))
    got: list[Record] = []
    following = 0
    while following < 100:
        found = await fetch(log, place, following, max_records=7)
        assert 0 < len(found.records) <= 7
        got += found.records
        following = found.next
    assert [record.offset for record in got] == list(range(100))
    assert (await fetch(log, place, 3, max_records=2)).next == 5, "and anywhere else"


async def test_a_fetch_gives_a_large_record_whatever_the_limit(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    for number in range(3):
        await log.append([NewRecord(unique, b"k", b"%d" % number * 300_000)])
    following = 0
    for number in range(3):
        found = await fetch(log, place, following, max_records=1, max_bytes=1)
        assert [record.offset for record in found.records] == [number]
        following = found.next


async def test_fetching_from_what_does_not_exist_fails(log: Log, unique: str) -> None:
    await make_topic(log, unique)
    for place in (TopicPartition(f"{unique}.none", 0), TopicPartition(unique, 1)):
        with pytest.raises(NotFound):
            await fetch(log, place, 0)
