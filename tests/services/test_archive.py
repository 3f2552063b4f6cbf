"""Many messages through the archive and back while everything around it fails; each ends up there once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.app import Parts
from pipeline.errors import Unavailable
from pipeline.log.port import Record, TopicPartition
from tests.processes import Process, until
from tests.seeds import seeded
from tests.services.archive_lab import ArchiveLab, append, count, rows, statistics, whole
from tests.services.servers import OwnServers
from tests.services.shapes import messages

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.postgres, pytest.mark.timeout(3600)]

MESSAGES = int(os.environ.get("HEADRACE_TEST_MESSAGES", "20000"))
"""By hand it is run with 200,000."""
PIECES = 16
"""In so many pieces they are published; between two of them something fails."""
FAILURES = ("one", "kafka", "two", "s3", "one", "postgres", "two")
"""Workers that are killed, and servers that are stopped and started, in turn."""
BETWEEN_SECONDS = 2.0
PATIENCE_SECONDS = 900.0


@pytest.fixture
def lab(own: OwnServers, unique: str, tmp_path: Path) -> ArchiveLab:
    """Give an archive on them."""
    return ArchiveLab(own.start(), unique, tmp_path)


async def test_every_message_is_archived_once_whatever_fails_and_comes_back_as_it_was(
    own: OwnServers, lab: ArchiveLab
) -> None:
    async with lab.parts() as parts:
        await lab.make_topics(parts.log, lab.topics)
        async with working(lab) as workers:
            await publish_while_things_fail(own, lab, parts, workers, seeded(17))
            await all_read(lab, parts, workers)
        await check_archived(lab, parts)

        await lab.rewind(parts.log)
        async with working(lab) as workers:
            await all_read(lab, parts, workers)
        await check_archived(lab, parts)

        sent = {place: await whole(parts.log, place) for place in lab.places(lab.topics)}
        await check_restored_elsewhere(lab, parts, sent)
        await check_restored_in_place(lab, parts, sent)


@asynccontextmanager
async def working(lab: ArchiveLab) -> AsyncIterator[dict[str, Process]]:
    """Run two workers while the block runs, then end them in order."""
    workers = {name: lab.worker(name) for name in ("one", "two")}
    try:
        yield workers
        for worker in workers.values():
            worker.send(signal.SIGTERM)
        for worker in workers.values():
            assert await worker.ended() == 0, lab.told()
    finally:
        for worker in workers.values():
            worker.kill()


async def publish_while_things_fail(
    own: OwnServers, lab: ArchiveLab, parts: Parts, workers: dict[str, Process], chance: random.Random
) -> None:
    """Publish all messages piece by piece; between two pieces something is killed or stopped."""
    size = MESSAGES // PIECES
    for piece in range(PIECES):
        numbers = range(piece * size, MESSAGES if piece == PIECES - 1 else (piece + 1) * size)
        await append(parts.log, messages(lab.topics, lab.partitions, numbers))
        victim = FAILURES[piece % len(FAILURES)]
        await asyncio.sleep(chance.uniform(0, BETWEEN_SECONDS))
        if victim in workers:
            await asyncio.to_thread(workers[victim].kill)
            workers[victim] = lab.worker(victim)
        else:
            await own.down(victim)
            await asyncio.sleep(chance.uniform(0, BETWEEN_SECONDS))
            await own.up(victim)


async def all_read(lab: ArchiveLab, parts: Parts, workers: dict[str, Process]) -> None:
    """Return when the workers have acknowledged everything."""

    async def read() -> bool:
        assert all(worker.running for worker in workers.values()), lab.told()
        try:
            return await lab.unread(parts.log) == 0
        except Unavailable:
            return False  # the broker was just started again

    try:
        await until(read, PATIENCE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{await lab.unread(parts.log)} are not read\n{lab.told()}") from None


async def check_archived(lab: ArchiveLab, parts: Parts) -> None:
    """Fail unless each message has one row, its document is whole, and the statistics say the same."""
    ends = await lab.ends(parts.log)
    wanted = {(place.topic, place.partition, at) for place, end in ends.items() for at in range(end)}
    found = await rows(parts)
    assert found.total() == len(wanted) == MESSAGES
    assert set(found) == wanted
    assert sum((await statistics(parts)).values()) == MESSAGES
    report = await lab.command("verify", "--all", "--crc")
    assert (report["checked"], report["anomalous"]) == (MESSAGES, 0)
    assert (await lab.command("audit-store"))["anomalous"] == 0


async def check_restored_elsewhere(
    lab: ArchiveLab, parts: Parts, sent: dict[TopicPartition, list[Record]]
) -> None:
    """Restore into other topics and compare every byte of every message."""
    pattern = "restored-{topic}"
    await lab.make_topics(parts.log, [pattern.format(topic=name) for name in lab.topics])
    report = await lab.command("restore", "--as-sent", "--dest-topic", pattern, "--verify")
    assert report["sent"] == MESSAGES
    for place, before in sent.items():
        there = TopicPartition(pattern.format(topic=place.topic), place.partition)
        after = await whole(parts.log, there)
        assert list(map(_content, after)) == list(map(_content, before)), place


async def check_restored_in_place(
    lab: ArchiveLab, parts: Parts, sent: dict[TopicPartition, list[Record]]
) -> None:
    """Remove the topics, restore them, and have them archived again: nothing is new."""
    await lab.remove_topics(lab.topics)
    await until_gone(lab, parts)
    await lab.make_topics(parts.log, lab.topics)
    report = await lab.command("restore", "--verify")
    assert report["sent"] == MESSAGES
    await lab.rewind(parts.log)
    async with working(lab) as workers:
        await all_read(lab, parts, workers)
    assert await count(parts) == MESSAGES
    for place, before in sent.items():
        after = await whole(parts.log, place)
        assert [record.value for record in after] == [record.value for record in before], place


async def until_gone(lab: ArchiveLab, parts: Parts) -> None:
    """Return when the broker has forgotten the topics."""

    async def gone() -> bool:
        return not set(await parts.log.topics()) & set(lab.topics)

    await until(gone, PATIENCE_SECONDS)


def _content(record: Record) -> tuple[object, ...]:
    return record.key, record.value, record.headers, record.timestamp_ms
