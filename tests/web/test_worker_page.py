"""The page of a worker: what it counts, and whether the archive moves on."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from pipeline import limits_archive, metrics
from pipeline.archive_source import group_of
from pipeline.log.port import TopicSpec
from pipeline.web.worker import serve_worker
from tests.agents.archiving import archive_settings, archiving, feed, until_archived
from tests.agents.installation import until


@pytest.fixture(autouse=True)
def no_groups_of_other_tests() -> None:
    """Forget groups whose watchdogs were asked by hand and never ran to their end."""
    metrics.AGENT_STALLED.clear()


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


async def get(address: str, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_worker_tells_its_counts_and_the_lag_of_each_partition(tmp_path: Path, unique: str) -> None:
    settings, address, topic = archive_settings(tmp_path, unique), free_address(), f"{unique}.a"
    async with archiving(settings) as (parts, agents), serve_worker(parts, agents.trouble, address):
        await parts.log.create_topics([TopicSpec(topic)])
        await feed(parts.log, topic, 3)
        await until_archived(parts, topic, 3)
        lag = f'headrace_log_lag_records{{group="{group_of(settings)}",partition="0",topic="{topic}"}} 0.0'

        async def told() -> bool:
            status, text = await get(address, "/metrics")
            return status == 200 and lag in text and "headrace_archive_stored_messages_total" in text

        await until(told)
        assert (await get(address, "/healthz"))[0] == 200
        assert (await get(address, "/readyz"))[0] == 200
        assert (await get(address, "/readyz?x=1"))[0] == 400
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(address, "/healthz")


async def test_a_worker_whose_archive_stands_still_is_not_ready(
    tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    settings = archive_settings(tmp_path, unique, policy="file", policy_file=str(policy))
    address = free_address()
    async with archiving(settings) as (parts, agents), serve_worker(parts, agents.trouble, address):
        status, text = await get(address, "/readyz")
        assert (status, "has not learned yet" in text) == (503, True)
        policy.write_text(f'[[topic]]\nname = "{unique}.*"\narchivable = true\n')

        async def ready() -> bool:
            return (await get(address, "/readyz"))[0] == 200

        await until(ready)
        monkeypatch.setattr(limits_archive, "ARCHIVE_STALE_SECONDS", 0.0)
        monkeypatch.setattr(limits_archive, "ARCHIVE_LOOKS_MISSED", 0)
        status, text = await get(address, "/readyz")
        assert (status, "last looked for topics" in text) == (503, True)


async def test_a_taken_address_of_the_page_stops_no_work(tmp_path: Path, unique: str) -> None:
    settings, topic = archive_settings(tmp_path, unique), f"{unique}.a"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with archiving(settings) as (parts, agents), serve_worker(parts, agents.trouble, address):
            await parts.log.create_topics([TopicSpec(topic)])
            await feed(parts.log, topic, 1)
            await until_archived(parts, topic, 1)
