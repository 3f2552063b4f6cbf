"""A restore in shares, a process each: all of them together are one restore, whoever of them dies."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.restore.restore import Options, Progress, Report, Selection, restore
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.errors import Conflict, Damaged, Unavailable
from pipeline.log.port import Log
from tests.archive.conftest import plain_text
from tests.archive.restoring import content, contents_of, keep_many, log_at, many, opened, remove_topics
from tests.archive.sharing import CORES, SHARE_MESSAGES, Opened, folder_archive

MESSAGES = 240
PARTITIONS = 5
pytestmark = pytest.mark.kafka


class Site(NamedTuple):
    """An archive with messages of one topic, a Kafka, and what opens both in other processes."""

    archive: Archive
    log: Log
    topic: str
    elsewhere: Opened
    folder: Path

    @property
    def options(self) -> Options:
        """Give options with a journal."""
        return Options(journal=self.folder / "journal", verify=True, as_sent=True)

    @property
    def messages(self) -> list[Message]:
        """Give what is archived."""
        return many(self.topic, MESSAGES, PARTITIONS)

    async def restore(self, elsewhere: Opened | None, **changes: Any) -> Report:
        """Restore the topic in processes, or in this one alone."""
        options = msgspec.structs.replace(self.options, **changes)
        return await restore(self.archive, self.log, Selection((self.topic,)), options, elsewhere=elsewhere)

    async def check_complete(self, topic: str = "") -> None:
        """Fail unless the Kafka holds each message once, in order."""
        expected: dict[int, list[Any]] = {}
        for message in self.messages:
            expected.setdefault(message.partition or 0, []).append(content(message))
        assert await contents_of(self.log, topic or self.topic) == expected

    def journals(self) -> list[str]:
        """Name the files of the journal."""
        return sorted(each.name for each in self.folder.glob("journal*"))


@pytest.fixture(autouse=True)
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many windows, and shares of few messages."""
    monkeypatch.setattr(limits_archive, "RESTORE_WINDOW_ROWS", 15)
    monkeypatch.setattr(limits_archive, "RESTORE_SHARE_MESSAGES", SHARE_MESSAGES)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)))


@pytest.fixture
async def site(tmp_path: Path, kafka_address: str, unique: str) -> AsyncIterator[Site]:
    """Give all that is needed."""
    async with folder_archive(tmp_path) as archive, opened(log_at(kafka_address)) as log:
        await keep_many(writer_of(archive), many(unique, MESSAGES, PARTITIONS))
        yield Site(archive, log, unique, Opened(tmp_path, kafka_address), tmp_path)
    await remove_topics(kafka_address, unique)


def writer_of(archive: Archive) -> ArchiveWriter:
    """Give a writer to an archive."""
    return ArchiveWriter(archive.objects, archive.database, clock=archive.clock, media_types=plain_text)


def figures(report: Report) -> dict[str, Any]:
    """Give what does not depend on where messages went."""
    said = msgspec.to_builtins(report)
    moved = [(each["partition"], each["first"], each["count"]) for each in said["offset_map"]]
    proof = [
        {key: value for key, value in each.items() if key != "topic"}
        for each in said["verified"]["partitions"]
    ]
    names = ("complete", "selected", "selected_bytes", "sent", "sent_now", "recognised", "failed", "topics")
    return {"moved": sorted(moved), "proof": proof, **{name: said[name] for name in names}}


async def test_shares_give_what_one_run_gives(site: Site) -> None:
    told: list[Progress] = []
    offsets = site.folder / "map"
    chosen = msgspec.structs.replace(site.options, dest_topic="{topic}-a", offset_map=offsets)

    shared = await restore(
        site.archive,
        site.log,
        Selection((site.topic,)),
        chosen,
        progress=told.append,
        elsewhere=site.elsewhere,
    )
    alone = await site.restore(None, dest_topic="{topic}-b", journal=None)

    assert site.journals() == ["journal", "journal.1", "journal.2", "journal.3"]
    assert figures(shared) == figures(alone)
    assert shared.created == [f"{site.topic}-a"]
    await site.check_complete(f"{site.topic}-a")
    lines = [msgspec.json.decode(line) for line in offsets.read_bytes().splitlines()]
    assert lines == msgspec.to_builtins(shared.offset_map)
    size_bytes = shared.selected_bytes
    assert told[-1] == Progress("verifying", MESSAGES, MESSAGES, size_bytes, size_bytes)
    for stage in ("sending", "verifying"):
        counts = [each.messages for each in told if each.stage == stage]
        assert counts == sorted(counts)


async def test_what_may_go_to_one_partition_is_never_shared_out(site: Site) -> None:
    await keep_many(writer_of(site.archive), many(f"{site.topic}-other", MESSAGES, PARTITIONS))
    by_key = msgspec.structs.replace(site.options, partition="key")

    both = Selection((f"{site.topic}*",))
    report = await restore(site.archive, site.log, both, by_key, elsewhere=site.elsewhere)

    assert (report.exit_status, report.sent) == (0, 2 * MESSAGES)
    begun = msgspec.json.decode((site.folder / "journal").read_bytes())
    topics = [sorted({lane[0] for lane in share}) for share in begun["shares"]]
    assert sorted(topics) == [[site.topic], [f"{site.topic}-other"]]


@pytest.mark.parametrize("changes", [{"order": "time"}, {"rate": 1e6}])
async def test_in_order_of_time_or_at_a_rate_one_process_sends_all(
    site: Site, changes: dict[str, Any]
) -> None:
    assert (await site.restore(site.elsewhere, **changes)).exit_status == 0
    assert site.journals() == ["journal"]


async def test_a_second_run_sends_nothing_with_or_without_processes(site: Site) -> None:
    runs = [await site.restore(each) for each in (site.elsewhere, site.elsewhere, None)]
    assert [each.sent_now for each in runs] == [MESSAGES, 0, 0]
    assert [each.exit_status for each in runs] == [0, 0, 0]
    assert runs[2] == runs[1]


@pytest.mark.parametrize("moment", ["before", "after", "between"])
async def test_processes_that_die_around_an_append_repeat_and_miss_nothing(site: Site, moment: str) -> None:
    dying = Opened(site.folder, site.elsewhere.address, moment, 3)
    with pytest.raises(Unavailable, match="exit code -9"):
        await site.restore(dying)
    assert (await site.restore(site.elsewhere)).exit_status == 0
    await site.check_complete()


async def test_an_interrupted_restore_leaves_no_process_behind(site: Site) -> None:
    begun = asyncio.Event()
    running = asyncio.create_task(
        restore(
            site.archive,
            site.log,
            Selection((site.topic,)),
            site.options,
            progress=lambda _: begun.set(),
            elsewhere=site.elsewhere,
        )
    )
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not multiprocessing.active_children()
    assert (await site.restore(site.elsewhere)).exit_status == 0
    await site.check_complete()


async def test_killed_at_any_moment_its_processes_end_and_nothing_is_missing_or_twice(site: Site) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    choose = random.Random(seed)  # noqa: S311
    for lines in (1, 2, 4):
        await asyncio.to_thread(_kill_after, lines, choose.random() / 20, site)
    assert (await site.restore(site.elsewhere)).exit_status == 0, seed
    await site.check_complete()


def _kill_after(lines: int, delay_seconds: float, site: Site) -> None:
    """Run the restore until it printed so many lines and a little longer, then kill its first process."""
    command = [sys.executable, "-m", "tests.archive.sharing"]
    given = [*command, str(site.folder), site.elsewhere.address, site.topic]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        # Not a wait for anything: it moves the kill within a step.
        threading.Event().wait(delay_seconds)
        child.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("working", [False, True], ids=["while they start", "while they work"])
async def test_an_interrupt_is_for_the_first_process_alone(site: Site, working: bool) -> None:
    """A terminal interrupts them all."""
    code, said = await asyncio.to_thread(_interrupt_others, working, site)
    assert (code, said) == (0, "")
    await site.check_complete()


def _interrupt_others(working: bool, site: Site) -> tuple[int, str]:
    """Interrupt the processes of a restore, give its exit code and what was written to standard error."""
    command = [sys.executable, "-m", "tests.archive.sharing"]
    given = [*command, str(site.folder), site.elsewhere.address, site.topic]
    pipe = subprocess.PIPE
    with subprocess.Popen(given, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        child.stdout.readline()
        # One is Python's own, which looks after what the others leave behind.
        while len(children.read_text().split()) <= CORES:
            os.sched_yield()
        if working:
            child.stdout.readline()
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGINT)
        said = child.communicate()[1]
        return child.returncode, said


async def test_what_one_share_fails_of_is_said_as_it_was_raised(site: Site) -> None:
    await site.restore(site.elsewhere)
    (site.folder / "journal.2").write_bytes(b"no journal\n")
    with pytest.raises(Damaged, match=r"journal\.2"):
        await site.restore(site.elsewhere)
    assert not multiprocessing.active_children()


async def test_the_journal_of_a_share_is_none_of_a_restore_nor_of_another_share(site: Site) -> None:
    await site.restore(site.elsewhere)
    with pytest.raises(Conflict, match="share was"):
        await site.restore(site.elsewhere, journal=site.folder / "journal.1")
    (site.folder / "journal.2").rename(site.folder / "journal.1")
    with pytest.raises(Conflict, match="share was"):
        await site.restore(site.elsewhere)


async def test_a_new_restore_never_takes_journals_of_shares_that_were_left(site: Site) -> None:
    await site.restore(site.elsewhere)
    (site.folder / "journal").unlink()
    with pytest.raises(Conflict, match=r"another restore are there: .*journal\.1"):
        await site.restore(site.elsewhere)
    assert not (site.folder / "journal").read_bytes()


async def test_topics_that_are_gone_when_it_goes_on_are_told(site: Site) -> None:
    await site.restore(site.elsewhere)
    await remove_topics(site.elsewhere.address, site.topic)
    with pytest.raises(Conflict, match="not there any more"):
        await site.restore(site.elsewhere)
