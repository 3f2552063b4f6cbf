"""Agent track, through topics: what is taken and not finished comes back, to its plugin alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline import metrics
from pipeline.app import Parts, make_parts, open_parts
from pipeline.events.codec import decode_stored
from pipeline.events.parked import ParkedEntry
from pipeline.events.task import decode_task
from pipeline.events.topics import system_topic
from pipeline.hub.changelogs import app_id
from pipeline.hub.tasks import Task
from pipeline.web.server import serve
from pipeline.web.tables import Tables
from tests.agents.installation import (
    installation,
    parked_entries,
    records_of,
    settings_in,
    settled,
    until,
)
from tests.agents.standin import Retry, Standin

QUICK: dict[str, Any] = {
    "lapse_seconds": 0.4,
    "scan_interval_seconds": 0.1,
    "backoff_seconds": [0.0, 0.1],
    "retries": 2,
}
TASKS = 100


async def test_tasks_of_a_plugin_that_died_come_back_to_it_alone_and_are_parked_after_the_limit(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, ["track"], tasks=QUICK)
    async with installation(settings) as (parts, agents):
        dying, other = Standin(parts, "dying"), Standin(parts, "other")
        first = await dying.take(f"{n:032x}" for n in range(TASKS))
        others = await other.take(f"{n:032x}" for n in range(TASKS))
        await other.say("completed", others)

        async def all_offered(attempt: int) -> bool:
            return sum(retry.attempt == attempt for retry in await dying.offered()) == TASKS

        await until(lambda: all_offered(1))
        again = [retry for retry in await dying.offered() if retry.attempt == 1]
        assert {retry.previous for retry in again} == set(first)
        second = await dying.take_retries(again)
        await until(lambda: all_offered(2))
        await dying.take_retries(retry for retry in await dying.offered() if retry.attempt == 2)

        async def all_parked() -> bool:
            return len(await parked_entries(parts)) >= TASKS

        await until(all_parked)
        await settled(agents)
        parked = await parked_entries(parts)
        assert len({entry.id for entry in parked}) == TASKS
        assert await other.offered() == []
        assert not {retry.previous for retry in await dying.offered()} - set(first) - set(second)
        await _statuses_name_the_plugin(parts)
        await _parked_entries_take_the_task_back(parts, parked)


async def _statuses_name_the_plugin(parts: Parts) -> None:
    records = await records_of(parts, system_topic(parts.settings.events.prefix, "status"))
    statuses = [decode_stored("status", record.value) for record in records]
    lost = [status for status in statuses if status and status.entity.status == "error-network"]
    assert len({status.kafka_key for status in lost}) == TASKS
    assert {status.author.name for status in lost} == {"dying"}
    assert all(status.entity.error == f"lost task: {status.entity.input.dequeued}" for status in lost)


async def _parked_entries_take_the_task_back(parts: Parts, parked: list[ParkedEntry]) -> None:
    download = await parts.objects.get(parked[0].object_key)
    value = b"".join([chunk async for chunk in download])
    event = decode_task(value)
    assert event.kind == "requeue"
    assert event.plugin == "dying"
    assert parked[0].error.startswith(f"lost task: {event.dequeued}: dying 1.0 lost 3 times")


async def test_what_plugins_said_while_no_worker_ran_is_heard_before_anything_lapses(
    tmp_path: Path,
) -> None:
    hasty = settings_in(tmp_path, ["track"], tasks=QUICK)
    async with open_parts(make_parts(hasty)) as parts:
        dying, other = Standin(parts, "dying"), Standin(parts, "other")
        lost = await dying.take(f"{n:032x}" for n in range(TASKS))
        finished = await other.take(f"{n:032x}" for n in range(TASKS, 2 * TASKS))
        # So much was said that the first look at the deadlines comes before all of it is read.
        await other.say("heartbeat", finished * 100)
        await other.say("completed", finished)
        # Their time is long over when the worker comes.
        deadline = parts.clock.unix() + QUICK["lapse_seconds"]
        await until(lambda: _passed(parts, deadline))
    async with installation(hasty) as (parts, agents):

        async def all_offered() -> bool:
            return len(await dying_again.offered()) == TASKS

        dying_again = Standin(parts, "dying")
        await until(all_offered)
        await settled(agents)
        assert {retry.previous for retry in await dying_again.offered()} == set(lost)
        assert await Standin(parts, "other").offered() == []


async def _passed(parts: Parts, moment: float) -> bool:
    return parts.clock.unix() > moment


async def test_tasks_survive_a_restart_of_the_worker(tmp_path: Path) -> None:
    patient = settings_in(tmp_path, ["track"])
    async with installation(patient) as (parts, agents):
        taken = await Standin(parts, "dying").take(f"{n:032x}" for n in range(TASKS))
        await settled(agents)
    hasty = settings_in(tmp_path, ["track"], tasks=QUICK)
    async with installation(hasty) as (parts, _):
        # Their deadlines are those of the first worker: half an hour from when they were taken.
        plugin = Standin(parts, "dying")
        await plugin.say("heartbeat", taken[:10])

        async def beaten_offered() -> bool:
            return len(await plugin.offered()) == 10

        await until(beaten_offered)
        assert {retry.previous for retry in await plugin.offered()} == set(taken[:10])


@pytest.mark.parametrize("value", [b"", b"{", b'{"kind":"dancing"}', b"\xff\xfe", b"[" * 100_000])
async def test_a_malformed_task_event_is_parked_and_stops_nothing(tmp_path: Path, value: bytes) -> None:
    settings = settings_in(tmp_path, ["track"], tasks=QUICK)
    async with installation(settings) as (parts, _):
        from pipeline.log.port import NewRecord

        topic = system_topic(settings.events.prefix, "task")
        await parts.log.append([NewRecord(topic, b"k", value)])
        plugin = Standin(parts, "p")
        await plugin.take(["0" * 32])

        async def offered() -> bool:
            return len(await plugin.offered()) == 1

        await until(offered)
        [entry] = await parked_entries(parts)
        assert (entry.agent, entry.topic, entry.offset) == ("track", topic, 0)
        assert entry.reason == "EventCorrupt"


async def in_flight(parts: Parts) -> list[Task]:
    """Return the entries of the table as others see it."""
    async with Tables(parts) as tables:
        await tables.refresh()
        return await tables.tasks()


async def test_an_event_handed_out_twice_is_one_entry_that_either_status_ends(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["track"])
    keys = [f"{n:032x}" for n in range(TASKS)]
    async with installation(settings) as (parts, agents):
        live = Standin(parts, "plugin")
        first = await live.take(keys)
        await settled(agents)
    # The worker is a new one: it knows the tasks from the table alone.
    async with installation(settings) as (parts, agents):
        live = Standin(parts, "plugin", second=1_800_000_000)
        second = await live.take(keys)
        await settled(agents)
        entries = {entry.dequeued: entry for entry in await in_flight(parts)}
        assert set(entries) == set(second)
        assert {entry.earlier for entry in entries.values()} == {(each,) for each in first}
        assert {entry.attempt for entry in entries.values()} == {0}
        half = TASKS // 2
        await live.say("completed", [*first[:half], *second[half:]])
        await settled(agents)
        assert await in_flight(parts) == []


async def test_a_pass_by_hand_retries_what_is_lost_once_however_often_it_is_made(tmp_path: Path) -> None:
    rarely = QUICK | {"scan_interval_seconds": 3600.0}
    settings = settings_in(tmp_path, ["track"], tasks=rarely)
    async with (
        installation(settings) as (parts, agents),
        serve(parts, "127.0.0.1:0") as url,
        aiohttp.ClientSession() as client,
    ):
        dying = Standin(parts, "dying")
        lost = await dying.take(f"{n:032x}" for n in range(TASKS))

        async def lapsed() -> int:
            async with client.post(f"{url}/api/tasks/process-lost") as response:
                assert response.status == 202
                return int((await response.json())["lapsed"])

        async def all_offered() -> bool:
            await lapsed()
            return len(await dying.offered()) == TASKS

        await until(all_offered)
        assert await lapsed() == 0
        await settled(agents)
        assert {retry.previous for retry in await dying.offered()} == set(lost)
        assert len(await records_of(parts, system_topic(settings.events.prefix, "error"))) == TASKS


async def test_a_status_that_is_retried_comes_back_and_the_last_one_is_not_replaced(tmp_path: Path) -> None:
    tasks = {"retry_statuses": ["error-network"], "retries": 1, "backoff_seconds": [0.0]}
    settings = settings_in(tmp_path, ["track"], tasks=tasks)
    async with installation(settings) as (parts, agents):
        plugin = Standin(parts, "plugin")
        first = await plugin.take(["0" * 32])
        await plugin.say("error-network", first)
        await settled(agents)
        second = await plugin.take_retries(await plugin.offered())
        await plugin.say("error-network", second)
        await settled(agents)
        assert await in_flight(parts) == []
        [entry] = await parked_entries(parts)
        assert entry.error == f"lost task: {second[0]}: plugin 1.0 said error-network on try 2"
        # Two statuses by the plugin, none about it.
        assert len(await records_of(parts, system_topic(settings.events.prefix, "status"))) == 2


async def test_the_status_of_a_lost_task_read_late_does_not_end_the_task_taken_back(
    tmp_path: Path,
) -> None:
    async with installation(settings_in(tmp_path, ["track"])) as (parts, agents):
        plugin = Standin(parts, "plugin")
        [dequeued] = await plugin.take(["0" * 32])
        await plugin.say("error-network", [dequeued], error=f"lost task: {dequeued}")
        await settled(agents)
        assert [entry.dequeued for entry in await in_flight(parts)] == [dequeued]


def _tracked(name: str, origin: str) -> float:
    for registry in (metrics.REGISTRY, metrics.PLAIN):
        value = registry.get_sample_value(f"dispatcher_events_redis_{name}", {"origin": origin})
        if value is not None:
            return value
    return 0.0


async def test_tasks_are_counted_by_how_they_end_and_those_in_flight_are_told(tmp_path: Path) -> None:
    ends = ("started", "finished-0", "finished-1", "finished-2", "lost")
    before = {end: _tracked("tracking_control_total", end) for end in ends}
    async with installation(settings_in(tmp_path, ["track"], tasks=QUICK)) as (parts, agents):
        plugin = Standin(parts, "dying")

        async def again(tries: list[str]) -> list[Retry]:
            async def all_offered() -> bool:
                return set(tries) <= {retry.previous for retry in await plugin.offered()}

            await until(all_offered)
            return [retry for retry in await plugin.offered() if retry.previous in tries]

        async def parked() -> bool:
            return len(await parked_entries(parts)) == 1

        first, *rest = await plugin.take(f"{n:032x}" for n in range(3))
        await plugin.say("completed", [first])
        second, third = await plugin.take_retries(await again(rest))
        await plugin.say("error-input", [second])
        await plugin.take_retries(await again([third]))
        await until(parked)
        await settled(agents)
        assert _tracked("tracking", "lost-tasks") == 0
        await plugin.take(f"{n:032x}" for n in range(10, 14))
        await settled(agents)
        assert _tracked("tracking", "lost-tasks") == 4
        group = app_id(parts.settings.events.prefix, "track")
    labels = {"name": "track", "group": group}
    assert metrics.PLAIN.get_sample_value("dispatcher_kafka_rebalance_count_total", labels)
    counted = {end: _tracked("tracking_control_total", end) - before[end] for end in ends}
    assert counted == {"started": 10, "finished-0": 1, "finished-1": 1, "finished-2": 0, "lost": 1}
