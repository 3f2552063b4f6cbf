"""A restore that was stopped goes on by its journal: nothing missing, nothing twice, all in order."""

from __future__ import annotations

import asyncio
import fcntl
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.restore.journal import Journal
from pipeline.archive.restore.restore import Options, Selection, restore
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.errors import Conflict, Damaged, Unavailable
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.partitioner import partition_for
from pipeline.log.port import Log, NewRecord, Placed
from pipeline.objects.folder import FolderStore
from tests.archive.restoring import (
    TIME_MS,
    content,
    contents_of,
    keep,
    keep_many,
    log_at,
    many,
    new_topic,
    opened,
    remove_topics,
)
from tests.archive.stopping import StopAt

MESSAGES = 120
PARTITIONS = 3


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make windows small, so that there are many."""
    monkeypatch.setattr(limits_archive, "RESTORE_WINDOW_ROWS", 25)
    monkeypatch.setattr(limits_archive, "RESTORE_PAGE_ROWS", 10)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Give options with a journal."""
    return Options(journal=tmp_path / "journal", verify=True, as_sent=True, partition="key")


def by_key(messages: Sequence[Message], partitions: int) -> dict[int, list[Any]]:
    """Give what each partition should hold when messages are restored by key in order of offsets."""
    expected: dict[int, list[Any]] = {partition: [] for partition in range(partitions)}
    for message in sorted(messages, key=lambda each: (each.partition, each.offset)):
        assert message.key is not None
        expected[partition_for(message.key, partitions)].append(content(message))
    return expected


async def test_a_second_run_sends_nothing_and_proves_the_first(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, options: Options
) -> None:
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    first = await restore(kept, destination, Selection((unique,)), options)
    second = await restore(kept, destination, Selection((unique,)), options)
    assert (first.sent_now, second.sent_now, second.sent) == (MESSAGES, 0, MESSAGES)
    assert (first.exit_status, second.exit_status) == (0, 0)
    assert second.verified == first.verified
    assert second.offset_map == first.offset_map
    assert await contents_of(destination, unique) == by_key(messages, PARTITIONS)


async def test_what_was_archived_since_belongs_to_no_run_of_the_journal(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, options: Options
) -> None:
    await keep(writer, many(unique, 10, 1))
    await restore(kept, destination, Selection((unique,)), options)
    await keep(writer, [Message(unique, 0, 99, TIME_MS, b"k", b"later")])
    assert (await restore(kept, destination, Selection((unique,)), options)).sent_now == 0


@pytest.mark.parametrize(
    ("selection", "changes", "named"),
    [
        (Selection(("t*",)), {}, "selection"),
        (None, {"order": "time"}, "order"),
        (None, {"as_sent": False}, "as_sent"),
        (None, {"dest_topic": "other"}, "dest_topic"),
        (None, {"destination": "kafka://elsewhere"}, "destination"),
    ],
)
async def test_another_restore_with_the_same_journal_is_refused(
    kept: Archive,
    writer: ArchiveWriter,
    destination: Log,
    unique: str,
    options: Options,
    *,
    selection: Selection | None,
    changes: dict[str, Any],
    named: str,
) -> None:
    await keep(writer, many(unique, 10, 1))
    await restore(kept, destination, Selection((unique,)), options)
    with pytest.raises(Conflict, match=f"another restore: {named}"):
        await restore(
            kept,
            destination,
            selection or Selection((unique,)),
            msgspec.structs.replace(options, **changes),
        )
    assert "other" not in await destination.topics()


async def test_a_journal_of_another_archive_is_refused(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, *, options: Options, tmp_path: Path
) -> None:
    await keep(writer, many(unique, 10, 1))
    await restore(kept, destination, Selection((unique,)), options)
    async with archive_in(tmp_path / "other") as (other, its_writer):
        await keep(its_writer, [*many(unique, 9, 1), Message(unique, 0, 50, TIME_MS, None, b"other")])
        with pytest.raises(Conflict, match="another archive"):
            await restore(other, destination, Selection((unique,)), options)


async def test_two_runs_never_use_one_journal_at_once(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, options: Options
) -> None:
    await keep(writer, many(unique, 10, 1))

    class Meanwhile(Failing):
        async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
            with pytest.raises(Conflict, match="is using it"):
                await restore(kept, destination, Selection((unique,)), options)
            return await super().append(records)

    meanwhile: Any = Meanwhile(destination, at=0)
    assert (await restore(kept, meanwhile, Selection((unique,)), options)).exit_status == 0
    assert len((await contents_of(destination, unique))[0]) == 10


async def test_a_file_that_is_no_journal_is_left_alone(
    kept: Archive, destination: Log, options: Options
) -> None:
    assert options.journal is not None
    options.journal.write_bytes(b"something of mine\n")
    with pytest.raises(Damaged):
        await restore(kept, destination, Selection(), options)
    assert options.journal.read_bytes() == b"something of mine\n"


async def test_a_journal_cut_off_anywhere_loses_and_repeats_nothing(
    kept: Archive, writer: ArchiveWriter, tmp_path: Path, unique: str, options: Options
) -> None:
    """What a crash leaves of the line that was being written: any part of it."""
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    async with opened(EmbeddedLog(tmp_path / "log")) as log:
        await new_topic(log, unique, PARTITIONS)
        await restore(kept, log, Selection((unique,)), options)
        assert options.journal is not None
        lines = options.journal.read_bytes().splitlines(keepends=True)
        chance = random.Random(1)  # noqa: S311
        # The last window is all that may have been on its way when its line was lost.
        whole = b"".join(lines[:-1])
        for cut in (0, 1, len(lines[-1]) - 1, *(chance.randrange(len(lines[-1])) for _ in range(3))):
            options.journal.write_bytes(whole + lines[-1][:cut])
            report = await restore(kept, log, Selection((unique,)), options)
            assert (report.exit_status, report.sent_now, report.recognised > 0) == (0, 20, True)
            assert await contents_of(log, unique) == by_key(messages, PARTITIONS)


async def test_stopped_at_any_moment_and_started_again_nothing_is_missing_or_twice(
    kept: Archive, writer: ArchiveWriter, tmp_path: Path, unique: str
) -> None:
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    async with opened(EmbeddedLog(tmp_path / "log")) as log:
        moment, reached = 0, True
        while reached:
            moment += 5
            topic = await new_topic(log, f"{unique}.{moment}", PARTITIONS)
            journal = tmp_path / f"journal-{moment}"
            options = Options(dest_topic=topic, journal=journal, verify=True, as_sent=True, partition="key")
            stop = StopAt(moment)
            await stop.run(restore(kept, log, Selection((unique,)), options))
            reached = stop.reached
            report = await restore(kept, log, Selection((unique,)), options)
            assert report.exit_status == 0
            assert await contents_of(log, topic) == by_key(messages, PARTITIONS)
        assert moment > 40


async def test_a_journal_is_free_when_its_close_ends_even_cancelled(tmp_path: Path) -> None:
    journal, busy, loop = Journal(tmp_path / "journal"), threading.Event(), asyncio.get_running_loop()
    await journal.open()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        threads.submit(busy.wait)
        closing = asyncio.create_task(journal.close())
        loop.call_soon(closing.cancel)
        loop.call_later(0.05, busy.set)
        try:
            await asyncio.wait([closing])
            with (tmp_path / "journal").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            busy.set()


async def test_messages_of_others_meanwhile_are_told_apart(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, options: Options
) -> None:
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    await new_topic(destination, unique, PARTITIONS)

    class Busy(Failing):
        async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
            others = [NewRecord(unique, b"o", b"other", partition=n) for n in range(PARTITIONS)]
            await self.inner.append(others)
            placed = await super().append(records)
            await self.inner.append(others)
            return placed

    report = await restore(kept, Busy(destination, at=2), Selection((unique,)), options)
    assert report.exit_status == 0
    assert report.verified is not None
    assert all(each.others > 0 for each in report.verified.partitions)
    found = await contents_of(destination, unique)
    ours = {number: [each for each in there if each[1] != b"o"] for number, there in found.items()}
    assert ours == by_key(messages, PARTITIONS)


class Failing:
    """A log whose n-th append says that it failed: before, after, or in the middle of it."""

    def __init__(self, inner: Log, at: int, share: float = 1.0) -> None:
        self.inner = inner
        self._at = at
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append, or fail."""
        self._at -= 1
        if self._at == 0:
            await self.inner.append(records[: int(len(records) * self._share)])
            raise Unavailable("append to the log", "the answer was lost")
        return await self.inner.append(records)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_an_append_that_failed_is_repeated_as_far_as_it_did_not_arrive(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, *, options: Options, share: float
) -> None:
    # Two that are equal in everything count as two.
    twins = [Message(unique, 0, 900 + n, TIME_MS, b"k1", b"twin") for n in range(2)]
    messages = [*many(unique, MESSAGES, PARTITIONS), *twins]
    await keep_many(writer, messages)
    failing: Any = Failing(destination, at=3, share=share)
    report = await restore(kept, failing, Selection((unique,)), options)
    assert report.exit_status == 0
    assert await contents_of(destination, unique) == by_key(messages, PARTITIONS)


async def test_a_destination_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    kept: Archive,
    writer: ArchiveWriter,
    destination: Log,
    unique: str,
    *,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits_archive, "RESTORE_ATTEMPTS", 1)
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    away: Any = Failing(destination, at=3, share=0.7)
    with pytest.raises(Unavailable):
        await restore(kept, away, Selection((unique,)), options)
    report = await restore(kept, destination, Selection((unique,)), options)
    assert (report.exit_status, report.sent) == (0, MESSAGES)
    assert report.recognised > 0
    assert await contents_of(destination, unique) == by_key(messages, PARTITIONS)


async def test_going_on_in_smaller_steps_and_being_stopped_again_repeats_nothing(
    kept: Archive,
    writer: ArchiveWriter,
    destination: Log,
    unique: str,
    *,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = many(unique, MESSAGES, PARTITIONS)
    await keep_many(writer, messages)
    with monkeypatch.context() as large:
        large.setattr(limits_archive, "RESTORE_WINDOW_ROWS", MESSAGES)
        large.setattr(limits_archive, "RESTORE_ATTEMPTS", 1)
        away: Any = Failing(destination, at=1, share=0.8)
        with pytest.raises(Unavailable):
            await restore(kept, away, Selection((unique,)), options)

    class Stopped(Exception):
        pass

    def stop(_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await restore(kept, destination, Selection((unique,)), options, progress=stop)
    report = await restore(kept, destination, Selection((unique,)), options)
    assert report.exit_status == 0
    assert await contents_of(destination, unique) == by_key(messages, PARTITIONS)


async def test_a_destination_that_lost_what_was_sent_is_refused(
    kept: Archive, writer: ArchiveWriter, tmp_path: Path, unique: str, options: Options
) -> None:
    await keep(writer, many(unique, 10, 1))
    async with opened(EmbeddedLog(tmp_path / "one")) as log:
        await restore(kept, log, Selection((unique,)), options)
    async with opened(EmbeddedLog(tmp_path / "another")) as log:
        with pytest.raises(Conflict, match="not there any more"):
            await restore(kept, log, Selection((unique,)), options)
        await new_topic(log, unique)
        with pytest.raises(Conflict, match="ends at 0"):
            await restore(kept, log, Selection((unique,)), options)


# --- killed ---


async def archive_of(folder: Path, messages: Sequence[Message]) -> None:
    """Make an archive in a folder."""
    async with archive_in(folder) as (_, writer):
        await keep_many(writer, messages)


@asynccontextmanager
async def archive_in(folder: Path) -> AsyncIterator[tuple[Archive, ArchiveWriter]]:
    """Open an archive in a folder, and a writer of it."""
    database, objects, clock = Database("sqlite:", folder), FolderStore(folder / "objects"), SystemClock()
    await database.open()
    await objects.open()
    yield (
        Archive(objects, database, clock),
        ArchiveWriter(objects, database, clock=clock, media_types=_text),
    )
    await objects.close()
    await database.close()


async def _text(blocks: Sequence[bytes]) -> list[str]:
    return ["text/plain"] * len(blocks)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def address(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> AsyncIterator[str]:
    """Give where a destination is, for another process."""
    if request.param == "embedded":
        yield f"{tmp_path}/log"
        return
    yield request.getfixturevalue("kafka_address")
    await remove_topics(request.getfixturevalue("kafka_address"), unique)


async def check_complete(address: str, topic: str, messages: Sequence[Message]) -> None:
    """Fail unless the destination holds each message once, in order."""
    async with opened(log_at(address)) as log:
        assert await contents_of(log, topic) == by_key(messages, PARTITIONS)


@pytest.mark.parametrize("moment", ["before", "after", "between"])
async def test_killed_around_an_append_nothing_is_missing_or_twice(
    tmp_path: Path, address: str, unique: str, moment: str
) -> None:
    messages = many(unique, MESSAGES, PARTITIONS)
    await archive_of(tmp_path, messages)
    run = await asyncio.to_thread(_run, tmp_path, address, unique, moment, 2)
    assert run.returncode == -signal.SIGKILL
    run = await asyncio.to_thread(_run, tmp_path, address, unique)
    assert run.stdout.splitlines()[-1] == "equal"
    await check_complete(address, unique, messages)


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.archive.restorer", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=100)


async def test_killed_at_any_moment_nothing_is_missing_or_twice(
    tmp_path: Path, address: str, unique: str
) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    choose = random.Random(seed)  # noqa: S311
    messages = many(unique, MESSAGES, PARTITIONS)
    await archive_of(tmp_path, messages)
    for kills in range(3):
        await asyncio.to_thread(_kill_after, 2 * kills, choose.random() / 50, (tmp_path, address, unique))
    run = await asyncio.to_thread(_run, tmp_path, address, unique)
    assert run.stdout.splitlines()[-1] == "equal", seed
    await check_complete(address, unique, messages)


def _kill_after(lines: int, delay_seconds: float, arguments: tuple[object, ...]) -> None:
    """Run the child until it printed so many lines and a little longer, unless it ends before."""
    command = [sys.executable, "-m", "tests.archive.restorer", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        # Not a wait for anything: it moves the kill within a step.
        threading.Event().wait(delay_seconds)
        child.send_signal(signal.SIGKILL)
