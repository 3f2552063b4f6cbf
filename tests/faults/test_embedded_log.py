"""The embedded log against crashes, damage, a second process and a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.errors import Conflict, Damaged, StorageFull, Unavailable
from pipeline.log.embedded.disk import Disk
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import NewRecord, Record, TopicPartition, TopicSpec
from tests.faults import appender
from tests.faults.power import PowerDisk

PLACE = TopicPartition("t", 0)


@contextlib.asynccontextmanager
async def opened(folder: Path, disk: Disk | None = None) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(folder, disk=disk)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def crashing(folder: Path) -> AsyncIterator[EmbeddedLog]:
    """Open a log that is not closed at the end but stopped dead."""
    disk = PowerDisk()
    async with opened(folder, disk) as log:
        yield log
        disk.off = True


async def append(log: EmbeddedLog, *values: bytes, topic: str = "t") -> None:
    await log.append([NewRecord(topic, None, value, partition=0) for value in values])


async def read_all(log: EmbeddedLog, place: TopicPartition = PLACE) -> list[Record]:
    bounds = (await log.bounds([place]))[place]
    reader = log.reader({place: bounds.start})
    records: list[Record] = []
    while reader.positions()[place] < bounds.end:
        records += await reader.read(max_records=10_000, wait_seconds=0)
    await reader.close()
    return records


async def values(log: EmbeddedLog, place: TopicPartition = PLACE) -> list[bytes | None]:
    return [record.value for record in await read_all(log, place)]


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def journal(folder: Path) -> Path:
    return max(folder.glob("journal-*"))


def segment(folder: Path, topic: str = "t") -> Path:
    return max((folder / "topics" / f"{topic}-0").iterdir())


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


# --- torn ends and damage ---


async def test_a_torn_last_write_never_harms_the_records_before_it(tmp_path: Path) -> None:
    full = tmp_path / "log"
    async with crashing(full) as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"one", b"two")
        whole = journal(full).stat().st_size
        await append(log, b"three")
    for size in range(whole, journal(full).stat().st_size):
        torn = copy_of(full, tmp_path / f"torn-{size}")
        os.truncate(journal(torn), size)
        async with opened(torn) as log:
            assert await values(log) == [b"one", b"two"]
            await append(log, b"four")
        async with opened(torn) as log:
            assert await values(log) == [b"one", b"two", b"four"]
    async with opened(full) as log:
        assert await values(log) == [b"one", b"two", b"three"]


async def test_an_altered_topic_survives_a_crash_and_a_clean_end(tmp_path: Path) -> None:
    folder, grown = tmp_path / "log", TopicPartition("t", 2)
    config = {"retention.ms": "5", "cleanup.policy": "compact"}
    async with crashing(folder) as log:
        await log.create_topics([TopicSpec("t", config={"segment.bytes": "900"})])
        await append(log, b"before")
        await log.create_topics([TopicSpec("t", 3, config=config)], alter=True)
        await log.append([NewRecord("t", b"k", b"after", partition=2)])
    wanted = {"t": TopicSpec("t", 3, 0, {"segment.bytes": "900", **config})}
    for _ in range(2):  # after the crash from the journal, then from the snapshot
        async with opened(folder) as log:
            assert await log.describe_topics(["t"]) == wanted
            assert (await values(log), await values(log, grown)) == ([b"before"], [b"after"])


async def test_garbage_after_the_last_write_is_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    async with crashing(folder) as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"one")
    with journal(folder).open("ab") as file:
        file.write(bytes(5000) + b"HRG\x01" * 10)
    async with opened(folder) as log:
        assert await values(log) == [b"one"]


@pytest.mark.parametrize("own", [True, False])
async def test_a_record_that_looks_like_the_journal_is_never_taken_for_it(
    tmp_path: Path, own: bool
) -> None:
    """Else whoever may append could place records of their choice on any topic by a crash."""
    folder = tmp_path / "log"
    async with crashing(folder) as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"one")
        groups = journal(folder).read_bytes()[28:]
        if own:
            await append(log, b"two" + groups)
    if not own:
        async with crashing(folder) as log:
            await append(log, b"two" + groups)
    # A crash left the last group torn, and the record in it whole.
    flip(journal(folder), journal(folder).stat().st_size - len(groups) - 1)
    if own:  # only with the secret of this very file does it look like a group that was written later
        with pytest.raises(Damaged):
            await EmbeddedLog(folder).open()
    else:
        async with opened(folder) as log:
            assert await values(log) == [b"one"]


async def test_damage_in_the_middle_of_the_journal_names_file_and_offset(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    async with crashing(folder) as log:
        await log.create_topics([TopicSpec("t")])
        start = journal(folder).stat().st_size
        await append(log, b"one")
        await append(log, b"two")
    flip(journal(folder), start + 40)
    with pytest.raises(Damaged) as caught:
        await EmbeddedLog(folder).open()
    assert str(journal(folder)) in str(caught.value)
    assert f"offset {start}" in str(caught.value)


async def test_damage_in_a_segment_names_file_and_offset_and_spares_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    async with opened(folder) as log:
        await log.create_topics([TopicSpec("t"), TopicSpec("u")])
        for number in range(10):
            await append(log, b"%d" % number)
            await append(log, b"%d" % number, topic="u")
    size = segment(folder).stat().st_size // 10
    flip(segment(folder), size * 5 + 40)
    async with opened(folder) as log:
        reader = log.reader({PLACE: 0})
        with pytest.raises(Damaged) as caught:
            await reader.read(max_records=100, wait_seconds=0)
        assert reader.positions() == {PLACE: 0}
        assert str(segment(folder)) in str(caught.value)
        assert f"offset {size * 5}" in str(caught.value)
        assert [r.value for r in (await log.fetch(PLACE, 6, max_records=100)).records] == [
            b"6",
            b"7",
            b"8",
            b"9",
        ]
        assert len(await values(log, TopicPartition("u", 0))) == 10
        await append(log, b"new")
        assert [r.value for r in (await log.fetch(PLACE, 10, max_records=100)).records] == [b"new"]


async def test_damage_in_a_large_record_is_never_handed_out(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    async with opened(folder) as log:
        await log.create_topics([TopicSpec("t")])
        for _ in range(2):
            await append(log, bytes(1_500_000))
    flip(segment(folder), segment(folder).stat().st_size - 1000)
    async with opened(folder) as log:
        assert [
            record.offset for record in (await log.fetch(PLACE, 0, max_records=1, max_bytes=1)).records
        ] == [0]
        with pytest.raises(Damaged, match=f"offset {segment(folder).stat().st_size // 2}"):
            await log.fetch(PLACE, 1, max_records=1, max_bytes=1)


@pytest.mark.parametrize("what", ["shorter", "gone", "snapshot", "journal"])
async def test_a_file_that_is_cut_or_gone_is_named_at_start(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "log"
    async with opened(folder) as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"one")
    path = {"snapshot": folder / "snapshot", "journal": journal(folder)}.get(what, segment(folder))
    if what == "shorter":
        os.truncate(path, path.stat().st_size - 1)
    elif what == "snapshot":
        flip(path, 30)
    else:
        path.unlink()
    with pytest.raises(Damaged) as caught:
        await EmbeddedLog(folder).open()
    assert path.name in str(caught.value)


# --- processes ---


async def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from pipeline.errors import Conflict\n"
        "from pipeline.log.embedded.log import EmbeddedLog\n"
        "try: asyncio.run(EmbeddedLog(Path(sys.argv[1])).open())\n"
        "except Conflict as error: print(error); sys.exit(7)\n"
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, text=True, check=False
        )

    async with opened(tmp_path / "log"), opened(tmp_path / "log") as second:
        await second.close()
        refused = await asyncio.to_thread(other)
        assert refused.returncode == 7, refused.stderr
        assert str(os.getpid()) in refused.stdout
    allowed = await asyncio.to_thread(other)
    assert allowed.returncode == 0, allowed.stderr


async def test_a_process_is_refused_while_another_one_has_the_folder(tmp_path: Path) -> None:
    with started(tmp_path / "log", seed=1) as process, pytest.raises(Conflict, match=str(process.pid)):
        await EmbeddedLog(tmp_path / "log").open()


@contextlib.contextmanager
def started(folder: Path, seed: int) -> Iterator[subprocess.Popen[str]]:
    """Run the appender until the block is left, then kill it."""
    command = [sys.executable, "-m", "tests.faults.appender", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def run_and_kill(folder: Path, seed: int, lines: int) -> list[list[str]]:
    """Let the appender print at least so many lines, kill it with -9 and return all it printed."""
    with started(folder, seed) as process:
        assert process.stdout
        printed = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        printed += process.stdout.readlines()
    return [line.split() for line in printed if line.endswith("\n")]


async def test_everything_acknowledged_is_there_after_kill_9_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    chance = random.Random(20)  # noqa: S311
    told: dict[tuple[int, int], bytes] = {}
    committed: dict[int, list[int]] = {}
    for seed in range(8):
        for first, *rest in await asyncio.to_thread(run_and_kill, folder, seed, chance.randint(1, 3000)):
            if first == "commit":
                committed.setdefault(int(rest[0]), []).append(int(rest[1]))
            elif len(rest) == 2:
                place = (int(first), int(rest[0]))
                assert place not in told, "an offset was given twice"
                told[place] = bytes.fromhex(rest[1])
        async with opened(folder) as log:
            found = {}
            for number in range(appender.PARTITIONS):
                for record in await read_all(log, TopicPartition(appender.TOPIC, number)):
                    found[number, record.offset] = record.value
                offsets = sorted(offset for its_number, offset in found if its_number == number)
                assert offsets == list(range(len(offsets)))
            assert {place: found.get(place) for place in told} == told
            for number, offsets in committed.items():
                partition = TopicPartition(appender.TOPIC, number)
                # Commits of one group run side by side in the appender: any it printed may be the last.
                stored = (await log.committed(f"group-{number}", [partition]))[partition]
                assert stored >= min(offsets)
            # What was found is durable from now on, whoever wrote it.
            told = {place: value or b"" for place, value in found.items()}


# --- full disk ---


class FullDisk(Disk):
    """A disk with room for so many bytes of journal and segments; writes what fits, then refuses."""

    def __init__(self) -> None:
        self.room_bytes = 1 << 60

    def _write_all(self, descriptor: int, pieces: Sequence[bytes], position: int, flags: int) -> None:
        data = b"".join(pieces)
        grows = max(position + len(data) - os.fstat(descriptor).st_size, 0)
        fits = min(self.room_bytes, grows)
        self.room_bytes -= fits
        super()._write_all(descriptor, [data[: len(data) - grows + fits]], position, flags)
        if fits < grows:
            raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a real small file system on a folder, where that is allowed."""
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here; the refusing disk is tested instead")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def _fill(log: EmbeddedLog, start: int) -> int:
    """Append numbered records until the disk is full; return the first number refused."""
    number = start
    while True:
        try:
            await append(log, b"%d" % number + bytes(3000))
        except StorageFull:
            return number
        number += 1


async def _fill_and_free(folder: Path, disk: Disk, fill: object, free: object) -> None:
    assert callable(fill)
    assert callable(free)
    async with opened(folder, disk) as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"0")
        fill()
        refused = await _fill(log, 1)
        for _ in range(3):
            with pytest.raises(StorageFull):
                await append(log, b"refused" + bytes(100_000))
        assert len(await read_all(log)) == refused, "reading stopped because the disk was full"
        free()
        await append(log, b"after")
        expected = [b"%d" % n for n in range(refused)] + [b"after"]
        assert [(value or b"").rstrip(b"\0") for value in await values(log)] == expected
    async with opened(folder) as log:
        assert [(value or b"").rstrip(b"\0") for value in await values(log)] == expected


@pytest.mark.parametrize("journal_bytes", [20_000, 10_000_000])
async def test_a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal_bytes: int
) -> None:
    monkeypatch.setattr(limits, "LOG_JOURNAL_BYTES", journal_bytes)
    disk = FullDisk()
    await _fill_and_free(
        tmp_path / "log",
        disk,
        lambda: setattr(disk, "room_bytes", 100_000),
        lambda: setattr(disk, "room_bytes", 1 << 60),
    )


@pytest.mark.parametrize("journal_bytes", [20_000, 10_000_000])
async def test_a_really_full_disk_refuses_loses_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal_bytes: int
) -> None:
    monkeypatch.setattr(limits, "LOG_JOURNAL_BYTES", journal_bytes)
    disk = tmp_path / "disk"
    filler = disk / "filler"
    with small_disk(disk):
        await _fill_and_free(
            disk / "log", Disk(), lambda: filler.write_bytes(bytes(1_000_000)), filler.unlink
        )


async def test_a_start_on_a_full_disk_says_so_and_works_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path / "log") as log:
        await log.create_topics([TopicSpec("t")])
        await append(log, b"one")
    disk = FullDisk()
    disk.room_bytes = 10
    with pytest.raises(StorageFull):
        await EmbeddedLog(tmp_path / "log", disk=disk).open()
    async with opened(tmp_path / "log") as log:
        assert await values(log) == [b"one"]


# --- waiting ---


async def test_closing_wakes_whoever_waits(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log")
    await log.open()
    await log.create_topics([TopicSpec("t")])
    reader = log.reader({PLACE: 0})
    waiting = asyncio.create_task(reader.read(max_records=1, wait_seconds=60))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(Unavailable):
        await waiting


async def test_more_than_may_wait_waits_its_turn_and_all_of_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_PENDING_BYTES", 5000)
    monkeypatch.setattr(limits, "LOG_GROUP_BYTES", 3000)
    async with opened(tmp_path / "log") as log:
        await log.create_topics([TopicSpec("t")])
        appends = [asyncio.create_task(append(log, b"%d" % n + bytes(1000))) for n in range(50)]
        cancelled = appends[25]
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(*appends, return_exceptions=True)
        found = {(value or b"").rstrip(b"\0") for value in await values(log)}
        assert {b"%d" % n for n in range(50) if n != 25} <= found
        await append(log, bytes(4000))


async def test_two_event_loops_may_share_a_folder(tmp_path: Path) -> None:
    async def elsewhere() -> list[bytes | None]:
        async with opened(tmp_path / "log") as log:
            reader = log.reader({PLACE: 0})
            found = await reader.read(max_records=1, wait_seconds=20)
            await append(log, b"answer")
            return [record.value for record in found]

    async with opened(tmp_path / "log") as log:
        await log.create_topics([TopicSpec("t")])
        other = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(elsewhere())))
        await append(log, b"question")
        assert await other == [b"question"]
        assert await values(log) == [b"question", b"answer"]
