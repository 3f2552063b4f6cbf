"""What every log must do; the same tests over the embedded one and a real Kafka."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest

from pipeline import limits, metrics
from pipeline.clock import ManualClock
from pipeline.errors import BadInput, Conflict, NotFound, TooLarge, Unavailable
from pipeline.log.lag import Watermark, lag
from pipeline.log.partitioner import partition_for
from pipeline.log.port import (
    Bounds,
    Log,
    NewRecord,
    Placed,
    Record,
    TopicPartition,
    TopicSpec,
)
from pipeline.log.view import TableView
from tests.contract.records import WAIT_SECONDS, make_topic, numbered, read, read_from, values

# --- topics ---


async def test_creating_a_topic_again_changes_nothing(log: Log, unique: str) -> None:
    await make_topic(log, unique, 3)

    created = await log.create_topics([TopicSpec(unique, 1), TopicSpec(f"{unique}.b", 2)])

    assert created == [f"{unique}.b"]
    topics = await log.topics()
    assert topics[unique] == 3
    assert topics[f"{unique}.b"] == 2


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "../x", "é", "x" * 250, "a\n"])
async def test_a_topic_name_never_leaves_the_allowed_characters(log: Log, name: str) -> None:
    with pytest.raises(BadInput):
        await log.create_topics([TopicSpec(name)])


@pytest.mark.parametrize(
    "spec",
    [
        TopicSpec("t", 0),
        TopicSpec("t", 10**6),
        TopicSpec("t", config={"retention.ms": "soon"}),
        TopicSpec("t", config={"cleanup.policy": "burn"}),
    ],
)
async def test_a_topic_with_wrong_settings_is_never_created(log: Log, unique: str, spec: TopicSpec) -> None:
    name = unique + spec.name
    with pytest.raises(BadInput):
        await log.create_topics([TopicSpec(name, spec.partitions, config=spec.config)])
    assert name not in await log.topics()


async def test_an_altered_topic_has_what_its_spec_names_and_keeps_the_rest(log: Log, unique: str) -> None:
    first, *_ = await make_topic(log, unique, 2, retention_ms="1000", segment_bytes="10000000")
    await log.append([NewRecord(unique, b"old", b"kept", partition=0)])
    config = {"cleanup.policy": "compact", "retention.ms": "-1"}

    assert await log.create_topics([TopicSpec(unique, 3, config=config)], alter=True) == []

    (there,) = (await log.describe_topics([unique, f"{unique}.none"])).values()
    assert (there.name, there.partitions) == (unique, 3)
    assert there.replicas in {0, 1}  # an embedded log keeps none
    assert {**there.config, "segment.bytes": "10000000", **config} == there.config
    assert (await log.topics())[unique] == 3
    assert values(await read(log, {first: 0}, 1)) == [b"kept"]
    places = [TopicPartition(unique, number) for number in range(3)]
    assert [(await log.append([NewRecord(unique, b"k", b"v", partition=2)]))[0]] == [Placed(unique, 2, 0)]
    assert await log.bounds(places) == {
        place: Bounds(0, count) for place, count in zip(places, (1, 0, 1), strict=True)
    }


async def test_only_with_alter_and_only_what_differs_is_changed(log: Log, unique: str) -> None:
    await make_topic(log, unique, 2, retention_ms="1000")
    before = await log.describe_topics([unique])
    await log.create_topics([TopicSpec(unique, 4, config={"retention.ms": "9"})])
    await log.create_topics([TopicSpec(unique, 2, config={"retention.ms": "1000"})], alter=True)
    assert await log.describe_topics([unique]) == before
    for _ in range(2):
        created = await log.create_topics([TopicSpec(unique, 3), TopicSpec(f"{unique}.b", 2)], alter=True)
    assert created == []
    assert {name: spec.partitions for name, spec in (await log.describe_topics([unique])).items()} == {
        unique: 3
    }
    assert (await log.topics())[f"{unique}.b"] == 2


async def test_partitions_are_never_taken_away(log: Log, unique: str) -> None:
    await make_topic(log, unique, 3)
    specs = [TopicSpec(f"{unique}.b"), TopicSpec(unique, 2, config={"retention.ms": "1"})]
    with pytest.raises(Conflict, match="3 partitions"):
        await log.create_topics(specs, alter=True)
    there = await log.describe_topics([unique])
    assert there[unique].partitions == 3
    assert "retention.ms" not in there[unique].config


async def test_a_topic_is_never_altered_to_wrong_settings(log: Log, unique: str) -> None:
    await make_topic(log, unique, 1, retention_ms="1000")
    before = await log.describe_topics([unique])
    with pytest.raises(BadInput):
        await log.create_topics([TopicSpec(unique, 1, config={"cleanup.policy": "burn"})], alter=True)
    assert await log.describe_topics([unique]) == before


async def test_a_topic_may_have_the_longest_name(log: Log, unique: str) -> None:
    name = unique.ljust(limits.LOG_TOPIC_NAME_MAX, "x")
    (place,) = await make_topic(log, name)
    await log.append([NewRecord(name, b"k", b"v")])
    assert values(await read(log, {place: 0}, 1)) == [b"v"]


# --- append and read ---


async def test_records_come_back_as_they_were_appended(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    headers = (("b", b"2"), ("a", None), ("b", b""), ("ü", b"\x00\xff"))
    new = [
        NewRecord(unique, b"key", b"value", headers, timestamp_ms=1_700_000_000_123),
        NewRecord(unique, b"", b"", (), timestamp_ms=0),
        NewRecord(unique, b"key", None, timestamp_ms=1_700_000_000_000),
        NewRecord(unique, None, bytes(range(256)) * 100, timestamp_ms=5),
    ]

    placed = await log.append(new)

    assert placed == [Placed(unique, 0, offset) for offset in range(4)]
    assert await read(log, {place: 0}, 4) == [
        Record(unique, 0, offset, each.timestamp_ms or 0, each.key, each.value, each.headers)
        for offset, each in enumerate(new)
    ]


async def test_a_record_without_a_time_gets_the_present(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    earliest = int(time.time() * 1000) - 1
    await log.append([NewRecord(unique, b"k", b"v")])
    (record,) = await read(log, {place: 0}, 1)
    assert earliest <= record.timestamp_ms <= int(time.time() * 1000) + 1


async def test_appending_nothing_does_nothing(log: Log, unique: str) -> None:
    assert await log.append([]) == []


async def test_places_are_told_in_the_order_given_across_topics_and_partitions(
    log: Log, unique: str
) -> None:
    await make_topic(log, unique, 3)
    await make_topic(log, f"{unique}.b", 1)
    new = [
        NewRecord(unique, None, b"0", partition=2),
        NewRecord(f"{unique}.b", None, b"1"),
        NewRecord(unique, None, b"2", partition=0),
        NewRecord(unique, None, b"3", partition=2),
        NewRecord(f"{unique}.b", None, b"4"),
    ]

    placed = await log.append(new)

    assert placed == [
        Placed(unique, 2, 0),
        Placed(f"{unique}.b", 0, 0),
        Placed(unique, 0, 0),
        Placed(unique, 2, 1),
        Placed(f"{unique}.b", 0, 1),
    ]


async def test_a_key_always_goes_to_the_partition_kafka_gives_it(log: Log, unique: str) -> None:
    await make_topic(log, unique, 7)
    keys = [f"key-{number}".encode() * (number % 5) for number in range(100)]

    placed = await log.append([NewRecord(unique, key, b"v") for key in keys])

    assert [place.partition for place in placed] == [partition_for(key, 7) for key in keys]


async def test_records_without_a_key_reach_every_partition(log: Log, unique: str) -> None:
    await make_topic(log, unique, 3)
    seen = {(await log.append([NewRecord(unique, None, b"v")]))[0].partition for _ in range(12)}
    assert seen == {0, 1, 2}


async def test_concurrent_appends_lose_nothing_and_keep_each_callers_order(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)

    async def write(writer: int) -> list[Placed]:
        placed = []
        for number in range(20):
            placed += await log.append([NewRecord(unique, b"%d" % writer, b"%d" % number)])
        return placed

    results = await asyncio.gather(*(write(writer) for writer in range(10)))

    records = await read(log, {place: 0}, 200)
    assert [record.offset for record in records] == list(range(200))
    for writer, placed in enumerate(results):
        mine = [record for record in records if record.key == b"%d" % writer]
        assert values(mine) == [b"%d" % number for number in range(20)]
        assert [record.offset for record in mine] == [each.offset for each in placed]


async def test_one_append_may_be_far_larger_than_what_is_written_at_once(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    new = [NewRecord(unique, b"%d" % number, bytes(10_000)) for number in range(1500)]

    placed = await log.append(new)

    assert [each.offset for each in placed] == list(range(1500))
    assert [record.key for record in await read(log, {place: 0}, 1500)] == [each.key for each in new]


async def test_a_header_name_that_is_no_text_stops_its_append_and_no_other(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)

    with pytest.raises(BadInput, match="name of a header"):
        await log.append(
            [NewRecord(unique, b"k", b"1"), NewRecord(unique, b"k", b"2", (("a\udc80", b""),))]
        )

    assert await log.append([NewRecord(unique, b"k", b"3")]) == [Placed(*place, 0)]


async def test_the_largest_record_goes_through_and_a_larger_one_stops_all_of_its_append(
    log: Log, unique: str
) -> None:
    (place,) = await make_topic(log, unique)
    fits = bytes(limits.RECORD_MAX_BYTES - 100)

    with pytest.raises(TooLarge):
        await log.append([NewRecord(unique, b"small", b""), NewRecord(unique, b"large", fits + bytes(200))])
    await log.append([NewRecord(unique, b"fits", fits)])

    (record,) = await read(log, {place: 0}, 1)
    assert (record.key, record.offset, record.value == fits) == (b"fits", 0, True)


async def test_appending_to_what_does_not_exist_writes_nothing(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    for missing in (
        NewRecord(f"{unique}.none", b"k", b"v"),
        NewRecord(unique, b"k", b"v", partition=1),
        NewRecord(unique, b"k", b"v", partition=-1),
    ):
        with pytest.raises(NotFound):
            await log.append([NewRecord(unique, b"k", b"v"), missing])
    assert await log.bounds([place]) == {place: Bounds(0, 0)}
    assert f"{unique}.none" not in await log.topics()


async def test_a_compacted_topic_never_takes_a_record_without_a_key(log: Log, unique: str) -> None:
    await make_topic(log, unique, cleanup_policy="compact")
    with pytest.raises(BadInput):
        await log.append([NewRecord(unique, None, b"v")])


async def test_a_refused_record_never_harms_the_appends_beside_it(log: Log, unique: str) -> None:
    await make_topic(log, f"{unique}.table", cleanup_policy="compact")
    places = await make_topic(log, unique, 3)
    good = [log.append(numbered(unique, 50, partition=n % 3, start=n)) for n in range(9)]
    bad = [log.append([NewRecord(f"{unique}.table", None, b"v")]) for _ in range(3)]
    outcomes = await asyncio.gather(*good[:5], *bad, *good[5:], return_exceptions=True)
    assert sum(isinstance(each, BadInput) for each in outcomes) == 3
    assert sum(isinstance(each, list) for each in outcomes) == 9
    assert sum(there.end for there in (await log.bounds(places)).values()) == 450
    assert await log.append([NewRecord(f"{unique}.table", b"k", b"v")])


async def test_reading_starts_at_any_offset(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    for start in range(0, 50, 10):
        await log.append(numbered(unique, 10, start=start))
    for offset in (0, 1, 9, 10, 25, 49):
        assert values(await read(log, {place: offset}, 50 - offset)) == [
            b"%d" % number for number in range(offset, 50)
        ]


async def test_a_read_never_returns_more_than_asked_for_and_loses_nothing_by_it(
    log: Log, unique: str
) -> None:
    (place,) = await make_topic(log, unique)
    await log.append(numbered(unique, 100))
    reader = log.reader({place: 0})
    got: list[Record] = []
    while len(got) < 100:
        batch = await reader.read(max_records=7, wait_seconds=WAIT_SECONDS)
        assert 0 < len(batch) <= 7
        got += batch
    assert [record.offset for record in got] == list(range(100))
    assert reader.positions() == {place: 100}
    await reader.close()


async def test_readers_do_not_disturb_each_other(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    await log.append(numbered(unique, 10))
    one, two = log.reader({place: 0}), log.reader({place: 5})
    assert len(await read_from(one, 3)) == 3
    assert values(await read_from(two, 5)) == [b"5", b"6", b"7", b"8", b"9"]
    assert values(await read_from(one, 2)) == [b"3", b"4"]
    await one.close()
    await two.close()


async def test_one_busy_partition_never_starves_the_others(log: Log, unique: str) -> None:
    places = await make_topic(log, unique, 3)
    await log.append([NewRecord(unique, b"k", bytes(2000), partition=0) for _ in range(3000)])
    await log.append([*numbered(unique, 1, partition=1), *numbered(unique, 1, partition=2)])
    reader = log.reader(dict.fromkeys(places, 0))
    counts = dict.fromkeys(range(3), 0)
    while not all(counts.values()):
        for record in await reader.read(max_records=200, wait_seconds=WAIT_SECONDS):
            counts[record.partition] += 1
    assert counts[0] < 3000
    await reader.close()


async def test_an_empty_read_ends_in_time(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    reader = log.reader({place: 0})
    assert await reader.read(max_records=10, wait_seconds=0.2) == []
    assert await reader.read(max_records=10, wait_seconds=0) == []
    await reader.close()


async def test_a_waiting_reader_is_woken_by_a_record(log: Log, unique: str) -> None:
    places = await make_topic(log, unique, 2)
    reader = log.reader(dict.fromkeys(places, 0))
    waiting = asyncio.create_task(reader.read(max_records=10, wait_seconds=WAIT_SECONDS))
    await asyncio.sleep(0)
    await log.append(numbered(unique, 1, partition=1))
    assert values(await waiting) == [b"0"]
    await reader.close()


async def test_reading_from_what_does_not_exist_fails(log: Log, unique: str) -> None:
    await make_topic(log, unique)
    for place in (TopicPartition(f"{unique}.none", 0), TopicPartition(unique, 1)):
        with pytest.raises(NotFound):
            await log.bounds([place])
        with pytest.raises(NotFound):
            await read(log, {place: 0}, 1)


async def test_bounds_follow_what_is_appended(log: Log, unique: str) -> None:
    places = await make_topic(log, unique, 2)
    assert await log.bounds(places) == dict.fromkeys(places, Bounds(0, 0))
    await log.append(numbered(unique, 5, partition=1))
    assert await log.bounds(places) == {places[0]: Bounds(0, 0), places[1]: Bounds(0, 5)}
    assert await log.bounds([]) == {}


# --- consumer groups ---


async def test_committed_offsets_are_kept_by_group_and_partition(log: Log, unique: str) -> None:
    places = await make_topic(log, unique, 3)
    await log.append([record for number in range(3) for record in numbered(unique, 9, partition=number)])

    await log.commit(unique, {places[0]: 3, places[1]: 4})
    await log.commit(unique, {places[1]: 2})
    await log.commit(f"{unique}.b", {places[2]: 7})

    assert await log.committed(unique, places) == {places[0]: 3, places[1]: 2}
    assert await log.committed(f"{unique}.b", places) == {places[2]: 7}
    assert await log.committed(f"{unique}.c", places) == {}
    assert await log.committed(unique, []) == {}


async def test_committing_to_what_does_not_exist_stores_nothing(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    with pytest.raises(NotFound):
        await log.commit(unique, {place: 1, TopicPartition(f"{unique}.none", 0): 1})
    assert await log.committed(unique, [place]) == {}


async def test_lag_counts_from_what_was_committed(log: Log, unique: str) -> None:
    places = await make_topic(log, unique, 2)
    await log.append([*numbered(unique, 10, partition=0), *numbered(unique, 4, partition=1)])
    assert await lag(log, unique, places) == {places[0]: 10, places[1]: 4}
    await log.commit(unique, {places[0]: 7, places[1]: 4})
    assert await lag(log, unique, places) == {places[0]: 3, places[1]: 0}


async def test_a_watermark_passes_a_moment_when_all_that_was_there_is_committed(
    log: Log, unique: str
) -> None:
    clock = ManualClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    places = await make_topic(log, unique, 2)
    watermark = Watermark(log, unique, unique, clock)
    begun = clock.unix()
    assert await watermark.advance() == begun  # there was nothing to read
    await log.append([*numbered(unique, 10, partition=0), *numbered(unique, 4, partition=1)])
    clock.advance(10)
    assert await watermark.advance() == begun
    for committed in ({places[0]: 10}, {places[1]: 3}):
        clock.advance(10)
        await log.commit(unique, committed)
        assert await watermark.advance() == begun
    # What comes after the first look does not hold it up.
    await log.append(numbered(unique, 5, partition=0))
    await log.commit(unique, {places[1]: 4})
    assert await watermark.advance() == begun + 10
    assert await watermark.advance() == begun + 10
    await log.commit(unique, {places[0]: 15})
    assert await watermark.advance() == clock.unix()


# --- life ---


async def test_a_closed_log_refuses_and_opens_again(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    await log.append(numbered(unique, 3))
    await log.commit(unique, {place: 2})

    await log.close()
    await log.close()
    with pytest.raises(Unavailable):
        await log.append(numbered(unique, 1))

    await log.open()
    await log.open()
    assert values(await read(log, {place: 0}, 3)) == [b"0", b"1", b"2"]
    assert await log.committed(unique, [place]) == {place: 2}
    assert (await log.append(numbered(unique, 1, start=3)))[0].offset == 3


async def test_closing_finishes_what_was_appended(log: Log, unique: str) -> None:
    (place,) = await make_topic(log, unique)
    appends = [asyncio.create_task(log.append(numbered(unique, 10))) for _ in range(20)]
    await asyncio.gather(*(asyncio.sleep(0) for _ in appends))
    await appends[0]
    await log.close()
    done = await asyncio.gather(*appends, return_exceptions=True)
    await log.open()
    kept = (await log.bounds([place]))[place].end
    assert kept >= 10 * sum(not isinstance(each, BaseException) for each in done)


# --- tables ---


async def test_a_view_shows_the_newest_value_of_each_key_and_no_removed_one(log: Log, unique: str) -> None:
    await make_topic(log, unique, 3, cleanup_policy="compact")
    await log.append([NewRecord(unique, b"%d" % (n % 10), b"%d" % n) for n in range(100)])
    view = TableView(log, unique)
    await view.open()
    await view.caught_up()
    assert dict(view.items()) == {b"%d" % n: b"%d" % (90 + n) for n in range(10)}

    await log.append([NewRecord(unique, b"3", None), NewRecord(unique, b"4", b"new")])
    await view.caught_up()

    assert (view.get(b"3"), view.get(b"4"), len(view)) == (None, b"new", 9)
    await view.close()
    with pytest.raises(Unavailable):
        view.get(b"4")


async def test_a_view_of_an_empty_topic_is_caught_up_at_once(log: Log, unique: str) -> None:
    await make_topic(log, unique, 2)
    view = TableView(log, unique)
    await view.open()
    await view.caught_up()
    assert len(view) == 0
    await view.close()


async def test_a_view_that_outgrows_its_bound_never_shows_half_a_table(log: Log, unique: str) -> None:
    await make_topic(log, unique)
    await log.append([NewRecord(unique, b"%d" % n, bytes(100)) for n in range(50)])
    view = TableView(log, unique, max_bytes=2000)
    await view.open()
    with pytest.raises(TooLarge):
        await view.caught_up()
    with pytest.raises(TooLarge):
        view.get(b"1")
    await view.close()


async def test_a_view_of_what_does_not_exist_fails(log: Log, unique: str) -> None:
    with pytest.raises(NotFound):
        await TableView(log, unique).open()


async def test_what_is_appended_is_counted_by_topic_and_what_cannot_be_as_failed(
    log: Log, unique: str
) -> None:
    await make_topic(log, unique)
    await log.append([NewRecord(unique, b"key", b"value"), NewRecord(unique, b"key", None)])
    with pytest.raises(NotFound):
        await log.append([NewRecord(f"{unique}-missing", b"key", b"value")] * 3)
    counted = {
        (name, topic): metrics.REGISTRY.get_sample_value(
            f"dispatcher_kafka_produced_message_{name}_total", {"topic": topic}
        )
        for name in ("bytes", "error")
        for topic in (unique, f"{unique}-missing")
    }
    assert counted == {
        ("bytes", unique): len(b"keyvaluekey"),
        ("bytes", f"{unique}-missing"): None,
        ("error", unique): None,
        ("error", f"{unique}-missing"): 3,
    }
