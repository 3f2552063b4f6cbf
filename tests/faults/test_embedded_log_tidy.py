"""Retention, compaction and moving between journal, segments and memory never change what must be read."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import Bounds, NewRecord, Record, TopicPartition, TopicSpec
from tests.faults.power import PowerDisk

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def open_log(folder: Path, clock: ManualClock, *specs: TopicSpec) -> EmbeddedLog:
    log = EmbeddedLog(folder, clock)
    await log.open()
    await log.create_topics(specs)
    return log


async def read_from(log: EmbeddedLog, place: TopicPartition, offset: int) -> list[Record]:
    end = (await log.bounds([place]))[place].end
    reader = log.reader({place: offset})
    records: list[Record] = []
    while reader.positions()[place] < end:
        records += await reader.read(max_records=3, wait_seconds=0)
    await reader.close()
    return records


async def put(log: EmbeddedLog, topic: str, *pairs: tuple[bytes, bytes | None]) -> None:
    for key, value in pairs:
        await log.append([NewRecord(topic, key, value)])


async def shown(log: EmbeddedLog, topic: str) -> dict[int, tuple[bytes | None, bytes | None]]:
    records = await read_from(log, TopicPartition(topic, 0), 0)
    return {record.offset: (record.key, record.value) for record in records}


async def tidy(log: EmbeddedLog) -> None:
    """Tidy, and forget what memory still holds of the time before."""
    await log.tidy()
    await log.close()
    await log.open()


# --- retention ---


async def test_old_records_go_by_age_and_no_younger_one_does(tmp_path: Path) -> None:
    clock = ManualClock(START)
    place = TopicPartition("t", 0)
    spec = TopicSpec("t", config={"retention.ms": "10000", "segment.bytes": "1"})
    log = await open_log(tmp_path / "log", clock, spec)
    for number in range(10):
        await put(log, "t", (b"k", b"%d" % number))
        await log.tidy()
        clock.advance(2)
    await log.tidy()
    # Written 2 seconds apart, the last one 2 seconds ago: five are not older than 10 seconds.
    assert await log.bounds([place]) == {place: Bounds(5, 10)}
    assert [record.value for record in await read_from(log, place, 0)] == [b"5", b"6", b"7", b"8", b"9"]

    clock.advance(60)
    await log.tidy()
    assert await log.bounds([place]) == {place: Bounds(10, 10)}
    await log.close()

    await log.open()
    assert await log.bounds([place]) == {place: Bounds(10, 10)}
    assert list((tmp_path / "log" / "topics" / "t-0").iterdir()) == []
    await put(log, "t", (b"k", b"new"))
    assert await shown(log, "t") == {10: (b"k", b"new")}
    await log.close()


async def test_old_records_go_by_size_but_never_the_newest(tmp_path: Path) -> None:
    place = TopicPartition("t", 0)
    spec = TopicSpec("t", config={"retention.bytes": "3000", "segment.bytes": "1"})
    log = await open_log(tmp_path / "log", ManualClock(START), spec)
    for _ in range(10):
        await put(log, "t", (b"k", bytes(940)))
    await log.tidy()
    assert await log.bounds([place]) == {place: Bounds(6, 10)}
    await put(log, "t", (b"k", bytes(100_000)))
    await log.tidy()
    assert await log.bounds([place]) == {place: Bounds(10, 11)}
    await log.close()


async def test_nothing_goes_from_a_topic_that_was_not_asked_to_forget(tmp_path: Path) -> None:
    clock = ManualClock(START)
    place = TopicPartition("t", 0)
    log = await open_log(tmp_path / "log", clock, TopicSpec("t", config={"segment.bytes": "1"}))
    await put(log, "t", *[(b"k", b"%d" % number) for number in range(20)])
    clock.advance(10**9)
    await log.tidy()
    assert await log.bounds([place]) == {place: Bounds(0, 20)}
    await log.close()


async def test_a_reader_left_behind_by_retention_goes_on_at_the_start(tmp_path: Path) -> None:
    clock = ManualClock(START)
    spec = TopicSpec("t", config={"retention.ms": "1000", "segment.bytes": "1"})
    log = await open_log(tmp_path / "log", clock, spec)
    await put(log, "t", (b"k", b"0"), (b"k", b"1"))
    reader = log.reader({TopicPartition("t", 0): 0})
    clock.advance(5)
    await log.tidy()
    await put(log, "t", (b"k", b"2"))
    assert [record.value for record in await reader.read(max_records=9, wait_seconds=0)] == [b"2"]
    await log.close()


# --- compaction ---

TABLE = {"cleanup.policy": "compact", "segment.bytes": "1", "delete.retention.ms": "10000"}


async def test_compaction_keeps_the_newest_of_each_key_at_its_offset(tmp_path: Path) -> None:
    log = await open_log(tmp_path / "log", ManualClock(START), TopicSpec("t", config=TABLE))
    await put(log, "t", (b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4"), (b"b", b"5"), (b"z", b"6"))
    await tidy(log)
    expected = {2: (b"a", b"3"), 3: (b"c", b"4"), 4: (b"b", b"5"), 5: (b"z", b"6")}
    assert await shown(log, "t") == expected
    for offset in range(6):
        found = await read_from(log, TopicPartition("t", 0), offset)
        assert [record.offset for record in found] == [each for each in expected if each >= offset]
    await log.close()


async def test_a_tombstone_stays_for_its_time_and_never_brings_back_the_value_before(
    tmp_path: Path,
) -> None:
    clock = ManualClock(START)
    log = await open_log(tmp_path / "log", clock, TopicSpec("t", config=TABLE))
    await put(log, "t", (b"a", b"1"), (b"a", None), (b"z", b"2"))
    await tidy(log)
    assert await shown(log, "t") == {1: (b"a", None), 2: (b"z", b"2")}
    clock.advance(9)
    await put(log, "t", (b"y", b"3"), (b"x", b"4"))
    await tidy(log)
    assert (await shown(log, "t"))[1] == (b"a", None)
    clock.advance(20)
    await put(log, "t", (b"w", b"5"), (b"v", b"6"))
    await tidy(log)
    assert 1 not in await shown(log, "t")
    assert await log.bounds([TopicPartition("t", 0)]) == {TopicPartition("t", 0): Bounds(0, 7)}
    await log.close()


async def test_compaction_takes_several_rounds_when_keys_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_COMPACT_KEYS_MAX", 3)
    log = await open_log(tmp_path / "log", ManualClock(START), TopicSpec("t", config=TABLE))
    await put(log, "t", *[(b"%d" % (number % 10), b"%d" % number) for number in range(40)])
    for _ in range(20):
        await tidy(log)
    assert dict((await shown(log, "t")).values()) == {
        b"%d" % number: b"%d" % (30 + number) for number in range(10)
    }
    assert len(await shown(log, "t")) <= 11
    await log.close()


async def test_compaction_makes_the_folder_smaller_and_leaves_no_old_file(tmp_path: Path) -> None:
    config = {**TABLE, "segment.bytes": "5000"}
    log = await open_log(tmp_path / "log", ManualClock(START), TopicSpec("t", config=config))
    await log.append([NewRecord("t", b"%d" % (number % 5), bytes(500)) for number in range(100)])
    await log.append([NewRecord("t", b"last", b"")])
    await tidy(log)
    files = list((tmp_path / "log" / "topics" / "t-0").iterdir())
    assert sum(path.stat().st_size for path in files) < 15_000
    assert len(files) <= 3
    await log.close()


async def test_a_crash_between_compaction_and_its_snapshot_changes_nothing(tmp_path: Path) -> None:
    """The new files are whole on disk, the old ones still count; then the other way round."""
    for fails_at in range(1, 60):
        folder = tmp_path / f"log-{fails_at}"
        log = await open_log(folder, ManualClock(START), TopicSpec("t", config=TABLE))
        await put(log, "t", *[(b"%d" % (number % 3), b"%d" % number) for number in range(9)])
        await log.close()
        disk = PowerDisk(fails_at)
        log = EmbeddedLog(folder, ManualClock(START), disk=disk)
        try:
            await log.open()
            await tidy(log)
        except Exception:  # noqa: BLE001 - whatever it is: the power went
            assert disk.off
        await log.close()
        again = await open_log(folder, ManualClock(START))
        newest = dict((await shown(again, "t")).values())
        assert newest == {b"0": b"6", b"1": b"7", b"2": b"8"}
        await tidy(again)
        assert len(await shown(again, "t")) <= 4
        await again.close()
        if not disk.off:
            return
    raise AssertionError("compaction never ended")


# --- large segments ---


async def test_any_offset_of_a_large_segment_is_found_on_disk(tmp_path: Path) -> None:
    """Records from tiny to larger than what is read at once, in frames of all sizes."""
    place = TopicPartition("t", 0)
    log = await open_log(tmp_path / "log", ManualClock(START), TopicSpec("t"))
    sizes = [0, 10, 1000, 70_000, 300_000, 1_100_000, 3_000_000]
    expected: list[bytes] = []
    for turn in range(12):
        new = [b"%d " % (len(expected) + n) * 5 + bytes(sizes[(turn + n) % 7]) for n in range(turn + 1)]
        await log.append([NewRecord("t", None, value) for value in new])
        expected += new
    await log.close()

    await log.open()
    for offset in [*range(len(expected) - 1, -1, -7), 0, 1, 2]:
        found = (await log.fetch(place, offset, max_records=3, max_bytes=1)).records
        assert found
        assert [record.offset for record in found] == list(range(offset, offset + len(found)))
        assert all(record.value == expected[record.offset] for record in found)
    everything = await read_from(log, place, 0)
    assert [record.value for record in everything] == expected
    await log.close()


# --- against a model ---

KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
STEPS = st.one_of(
    st.tuples(
        st.just("append"),
        st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=60)), min_size=1, max_size=8),
    ),
    st.tuples(st.just("tidy"), st.integers(0, 20)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("read"), st.integers(0, 60)),
)
TOPICS = [
    TopicSpec("all", config={"segment.bytes": "300"}),
    TopicSpec("newest", config={**TABLE, "segment.bytes": "300", "delete.retention.ms": "100000000"}),
    TopicSpec("young", config={"retention.ms": "15000", "segment.bytes": "300"}),
]


class Model:
    """What was appended, by offset, with its time."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.records: list[tuple[bytes, bytes | None, int]] = []
        self.tidied_ms = 0

    def now_ms(self) -> int:
        return int(self.clock.unix() * 1000)

    def add(self, key: bytes, value: bytes | None) -> None:
        self.records.append((key, value, self.now_ms()))

    async def check(self, log: EmbeddedLog, offset: int) -> None:
        for spec in TOPICS:
            place = TopicPartition(spec.name, 0)
            bounds = (await log.bounds([place]))[place]
            found = await read_from(log, place, offset)
            assert bounds.end == len(self.records)
            assert [each.offset for each in found] == sorted({each.offset for each in found})
            for each in found:
                assert (each.key, each.value, each.timestamp_ms) == self.records[each.offset]
            getattr(self, f"check_{spec.name}")({each.offset for each in found}, offset, bounds)

    def check_all(self, offsets: set[int], start: int, bounds: Bounds) -> None:
        assert bounds.start == 0
        assert offsets == set(range(start, bounds.end))

    def check_newest(self, offsets: set[int], start: int, bounds: Bounds) -> None:
        assert bounds.start <= min(offsets, default=0)
        newest = {key: offset for offset, (key, _, _) in enumerate(self.records)}
        assert {offset for offset in newest.values() if offset >= start} <= offsets

    def check_young(self, offsets: set[int], start: int, bounds: Bounds) -> None:
        young = {
            offset
            for offset, (_, _, time_ms) in enumerate(self.records)
            if time_ms >= self.now_ms() - 15_000
        }
        assert {offset for offset in young if offset >= start} <= offsets
        assert offsets == set(range(max(start, bounds.start), bounds.end))
        if all(time_ms < self.tidied_ms - 15_000 for _, _, time_ms in self.records):
            assert bounds.start == bounds.end


async def follow(folder: Path, steps: list[tuple[str, object]]) -> None:
    model = Model()
    log = await open_log(folder, model.clock, *TOPICS)
    for name, argument in steps:
        if name == "append":
            assert isinstance(argument, list)
            await log.append([NewRecord(spec.name, *pair) for pair in argument for spec in TOPICS])
            for pair in argument:
                model.add(*pair)
        elif name == "tidy":
            assert isinstance(argument, int)
            model.clock.advance(argument)
            await log.tidy()
            model.tidied_ms = model.now_ms()
        elif name == "reopen":
            await log.close()
            await log.open()
        else:
            assert isinstance(argument, int)
            await model.check(log, min(argument, len(model.records)))
    await model.check(log, 0)
    await log.close()


SMALL = {
    "LOG_JOURNAL_BYTES": 700,
    "LOG_FRAME_BYTES": 150,
    "LOG_TAIL_BYTES": 400,
    "LOG_LEFTOVER_BYTES": 200,
}


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_the_log_agrees_with_a_list(steps: list[tuple[str, object]]) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name, value in SMALL.items():
            stack.enter_context(mock.patch.object(limits, name, value))
        asyncio.run(follow(Path(folder) / "log", steps))
