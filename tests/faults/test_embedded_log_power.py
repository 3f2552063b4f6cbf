"""The embedded log when the power goes at any moment: what was acknowledged is there, in order."""

from __future__ import annotations

import datetime as dt
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.errors import HeadraceError
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import NewRecord, Record, TopicPartition, TopicSpec
from tests.faults.power import PowerDisk

PLAIN = [TopicPartition("plain", 0), TopicPartition("plain", 1)]
TABLE = TopicPartition("table", 0)
AGED = TopicPartition("aged", 0)
SPECS = [
    TopicSpec("plain", 2, config={"segment.bytes": "900"}),
    TopicSpec("table", 1, config={"cleanup.policy": "compact", "segment.bytes": "700"}),
    TopicSpec("aged", 1, config={"retention.ms": "5000", "segment.bytes": "500"}),
]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_JOURNAL_BYTES", 1500)
    monkeypatch.setattr(limits, "LOG_FRAME_BYTES", 400)


def dice(seed: int) -> random.Random:
    """Give chance that repeats itself."""
    return random.Random(seed)  # noqa: S311 - nothing is secret here


class Story:
    """What was told to the user: acknowledged records and commits, and those under way at the crash."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.clock = ManualClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        self.told: dict[TopicPartition, dict[int, NewRecord]] = {}
        self.attempted: dict[TopicPartition, list[NewRecord]] = {}
        self.committed = 0
        self.attempted_commit = 0
        self._number = 0

    async def live(self, log: EmbeddedLog) -> None:
        """Use the log in every way; raises what the log raises when the power goes."""
        await log.create_topics(SPECS)
        for _ in range(25):
            luck = self.chance.random()
            if luck < 0.75:
                await self._append(log)
            elif luck < 0.85:
                self.attempted_commit = self.committed + self.chance.randint(1, 5)
                await log.commit("group", {PLAIN[0]: self.attempted_commit})
                self.committed = self.attempted_commit
            elif luck < 0.95:
                self.clock.advance(1)
                await log.tidy()
            else:
                await log.close()
                await log.open()

    async def _append(self, log: EmbeddedLog) -> None:
        records = []
        for _ in range(self.chance.randint(1, 6)):
            self._number += 1
            place = self.chance.choice([*PLAIN, TABLE, AGED])
            value = b"%d" % self._number + bytes(self.chance.randint(0, 150))
            tombstone = place == TABLE and self.chance.random() < 0.2
            key = b"%d" % self.chance.randint(0, 5)
            records.append(
                NewRecord(place.topic, key, None if tombstone else value, partition=place.partition)
            )
        for record in records:
            self.attempted.setdefault(_place(record), []).append(record)
        for record, placed in zip(records, await log.append(records), strict=True):
            self.told.setdefault(_place(record), {})[placed.offset] = record
            self.attempted[_place(record)].remove(record)

    async def check(self, log: EmbeddedLog) -> None:
        """Compare what is there with what was told."""
        topics = await log.topics()
        if not topics:
            assert not self.told
            return
        assert topics == {"plain": 2, "table": 1, "aged": 1}
        for place in PLAIN:
            found = await read_all(log, place)
            assert sorted(found) == list(range(len(found))), "a gap where nothing was removed"
            self._compare(place, found, self.told.get(place, {}))
        self._compare(TABLE, await read_all(log, TABLE), {})
        self._compare_table(await read_all(log, TABLE))
        aged = await read_all(log, AGED)
        start = (await log.bounds([AGED]))[AGED].start
        told = {offset: each for offset, each in self.told.get(AGED, {}).items() if offset >= start}
        self._compare(AGED, aged, told)
        stored = (await log.committed("group", PLAIN)).get(PLAIN[0], 0)
        assert stored in {self.committed, self.attempted_commit}

    def _compare(
        self, place: TopicPartition, found: Mapping[int, Record], must: Mapping[int, NewRecord]
    ) -> None:
        told = self.told.get(place, {})
        unknown = list(self.attempted.get(place, []))
        for offset, record in found.items():
            expected = told.get(offset)
            if expected is None:
                expected = next(
                    each for each in unknown if (each.key, each.value) == (record.key, record.value)
                )
                unknown.remove(expected)
            assert (record.key, record.value) == (expected.key, expected.value)
        assert set(must) <= set(found), "what was acknowledged is gone"

    def _compare_table(self, found: Mapping[int, Record]) -> None:
        """The newest value of each key must be what it would be without compaction."""
        shown: dict[bytes | None, bytes | None] = {}
        for offset in sorted(found):
            shown[found[offset].key] = found[offset].value
        told = self.told.get(TABLE, {})
        doubtful = {each.key for each in self.attempted.get(TABLE, [])}
        newest: dict[bytes | None, bytes | None] = {}
        for offset in sorted(told):
            newest[told[offset].key] = told[offset].value
        for key in (set(newest) | set(shown)) - doubtful:
            assert shown.get(key) == newest.get(key)


def _place(record: NewRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition or 0)


async def read_all(log: EmbeddedLog, place: TopicPartition) -> dict[int, Record]:
    bounds = (await log.bounds([place]))[place]
    reader = log.reader({place: bounds.start})
    found: dict[int, Record] = {}
    while reader.positions()[place] < bounds.end:
        for record in await reader.read(max_records=1000, wait_seconds=0):
            found[record.offset] = record
    await reader.close()
    return found


async def _operations(folder: Path, seed: int) -> int:
    """Count the disk operations of a story nothing happens in, checking it on the way."""
    disk = PowerDisk()
    story = Story(dice(seed))
    log = EmbeddedLog(folder, story.clock, disk=disk)
    await log.open()
    await story.live(log)
    await story.check(log)
    await log.close()
    return disk.operations


@pytest.mark.parametrize("seed", range(15))
async def test_nothing_acknowledged_is_lost_when_the_power_goes_at_any_operation(
    tmp_path: Path, seed: int
) -> None:
    total = await _operations(tmp_path / "calm", seed)
    chance = dice(seed)
    for number, fails_at in enumerate(sorted(chance.sample(range(1, total + 1), 6))):
        folder = tmp_path / f"crash-{number}"
        story = Story(dice(seed))
        disk = PowerDisk(fails_at)
        log = EmbeddedLog(folder, story.clock, disk=disk)
        try:
            await log.open()
            await story.live(log)
        except HeadraceError:
            assert disk.off
        await log.close()
        disk.restore(folder, chance)
        await _crash_while_starting(folder, chance.randint(1, 25), chance)

        again = EmbeddedLog(folder, story.clock)
        await again.open()
        await story.check(again)
        await again.append([NewRecord("plain", b"k", b"v")] if await again.topics() else [])
        await again.close()


async def _short_life(folder: Path, disk: PowerDisk) -> list[bytes]:
    """Fill two journals and return what was acknowledged."""
    log = EmbeddedLog(folder, disk=disk)
    told = []
    try:
        await log.open()
        await log.create_topics([TopicSpec("plain", 1)])
        for number in range(8):
            value = b"%d" % number + bytes(600)
            await log.append([NewRecord("plain", b"k", value)])
            told.append(value)
    except HeadraceError:
        assert disk.off
    await log.close()
    return told


async def test_nothing_is_lost_when_the_start_after_a_crash_crashes_too(tmp_path: Path) -> None:
    chance = dice(3)
    fails_at = 0
    disk = PowerDisk()
    while not fails_at or disk.off:
        fails_at += 1
        disk = PowerDisk(fails_at)
        folder = tmp_path / f"{fails_at}"
        told = await _short_life(folder, disk)
        if disk.off:
            disk.restore(folder, chance)
        for second in (1, 2, 3, 5, 8):
            again = tmp_path / f"{fails_at}-{second}"
            shutil.copytree(folder, again)
            await _crash_while_starting(again, second, chance)
            log = EmbeddedLog(again)
            await log.open()
            if told:
                found = [record.value for record in (await read_all(log, PLAIN[0])).values()]
                assert found[: len(told)] == told
            await log.close()


async def _crash_while_starting(folder: Path, fails_at: int, chance: random.Random) -> None:
    """Start, lose power at that operation: the repair itself must survive it."""
    disk = PowerDisk(fails_at)
    disk.adopt(folder)
    log = EmbeddedLog(folder, disk=disk)
    try:
        await log.open()
    except HeadraceError:
        assert disk.off
    await log.close()
    disk.restore(folder, chance)
