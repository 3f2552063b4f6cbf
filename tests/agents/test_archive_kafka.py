"""The archive on a real Kafka: several workers, topics that are deleted, and an end in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline import metrics
from pipeline.app import Parts, make_parts, open_parts
from pipeline.archive.source.topic_set import TopicSet
from pipeline.archive_source import group_of
from pipeline.log.port import TopicSpec
from tests.agents.archiving import (
    archive_settings,
    archived,
    archiving,
    committed,
    feed,
    passes,
    places,
    until_archived,
)
from tests.agents.installation import until
from tests.processes import Process, ended_at_last, environment, write_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


async def delete_topic(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


async def test_a_deleted_topic_holds_up_no_other_and_is_never_made_anew(
    kafka_address: str, tmp_path: Path, unique: str
) -> None:
    settings = archive_settings(tmp_path, unique, f"kafka://{kafka_address}")
    a, b = f"{unique}.a", f"{unique}.b"
    failed = ("headrace_agent_failed_total", {"agent": "archive"})
    before = metrics.REGISTRY.get_sample_value(*failed)
    async with archiving(settings) as (parts, agents):
        await parts.log.create_topics([TopicSpec(a), TopicSpec(b)])
        await feed(parts.log, a, 10)
        await feed(parts.log, b, 10)
        await until_archived(parts, a, 10)
        await until_archived(parts, b, 10)
        await delete_topic(kafka_address, a)
        for count in range(20, 70, 10):
            await feed(parts.log, b, 10)
            await until_archived(parts, b, count)
        assert agents.trouble() == []
        await passes(1.0)
        assert a not in await parts.log.topics()
    assert metrics.REGISTRY.get_sample_value(*failed) == before
    assert await _left(settings, b) == 60


async def _left(settings: Any, topic: str) -> int:
    async with open_parts(make_parts(settings)) as parts:
        return (await committed(parts.log, group_of(settings), topic))[0]


async def test_workers_that_notice_a_new_topic_at_different_times_share_it_and_repeat_nothing(
    kafka_address: str, tmp_path: Path, unique: str
) -> None:
    quick = archive_settings(tmp_path, unique, f"kafka://{kafka_address}")
    slow = archive_settings(tmp_path, unique, f"kafka://{kafka_address}", refresh_seconds=4.0)
    a, b = f"{unique}.a", f"{unique}.b"
    async with archiving(quick) as (parts, _), archiving(slow) as (_, others):
        await parts.log.create_topics([TopicSpec(a, 4)])
        for partition in range(4):
            await feed(parts.log, a, 20, partition=partition)
        await until_archived(parts, a, 20, 20, 20, 20)
        await parts.log.create_topics([TopicSpec(b, 4)])
        for partition in range(4):
            await feed(parts.log, b, 20, partition=partition)
            await feed(parts.log, a, 20, partition=partition)
        await until_archived(parts, b, 20, 20, 20, 20)
        await until_archived(parts, a, 40, 40, 40, 40)
        assert others.archiving is not None
        archive = others.archiving
        await until(lambda: _knows(archive.topics, b))
        for partition in range(4):
            await feed(parts.log, b, 20, partition=partition)
        await until_archived(parts, b, 40, 40, 40, 40)
        await until(lambda: _is([40] * 4, committed(parts.log, group_of(quick), b, 4)))


async def _knows(topics: TopicSet, name: str) -> bool:
    return name in topics.topics


async def _is(wanted: Sequence[int], found: Awaitable[Sequence[int]]) -> bool:
    return wanted == await found


async def test_after_sigterm_the_committed_offsets_are_what_is_stored(
    kafka_address: str, tmp_path: Path, unique: str
) -> None:
    settings = archive_settings(tmp_path / "data", unique, f"kafka://{kafka_address}")
    file = write_settings(tmp_path / "headrace.toml", settings_text(settings))
    topic = f"{unique}.a"
    async with open_parts(make_parts(settings)) as parts:
        await parts.log.create_topics([TopicSpec(topic, 2)])
        worker = Process(
            ["--config", str(file), "worker"],
            log=tmp_path / "worker.log",
            environment=environment(tmp_path),
        )
        with ended_at_last(worker):
            stopped = asyncio.Event()
            feeding = asyncio.create_task(keep_feeding(parts, topic, stopped))
            await until(lambda: _some(parts, topic))
            worker.send(signal.SIGTERM)
            assert await worker.ended() == 0, worker.told()
            stopped.set()
            await feeding
        found = await archived(parts, topic)
        offsets = await committed(parts.log, group_of(settings), topic, 2)
        assert found == places(*offsets), (len(found), offsets, worker.told())
        assert sum(offsets) > 0


async def keep_feeding(parts: Parts, topic: str, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        await asyncio.gather(*(feed(parts.log, topic, 20, partition=n) for n in range(2)))
        await asyncio.sleep(0.02)  # leaves the machine to the worker


async def _some(parts: Parts, topic: str) -> bool:
    return len(await archived(parts, topic)) > 300


def settings_text(settings: Any) -> dict[str, Any]:
    """Return what of the settings a file must say."""
    chosen = settings.archive
    return {
        "data": str(settings.data_folder),
        "log": settings.log,
        "events": {"prefix": settings.events.prefix},
        "worker": {"agents": ["archive"], "stats_listen": "", "listen": ""},
        "parser": {"processes": 1},
        "archive": {"topics": list(chosen.topics), "layout": "packs", "pack_seconds": 0.2},
    }
