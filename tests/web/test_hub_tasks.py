"""Tasks from the fetch to their end, agent `track` running (dispatcher contract, section 13).

Time is the test's own: a plugin that is not heard of for half an hour has lost its task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.run import running
from pipeline.clock import ManualClock
from pipeline.events.topics import ERROR, system_topic
from tests.agents.installation import parked_entries
from tests.events.samples import DELETE
from tests.web.fetching import Hub, status_of, wanted
from tests.web.site import PREFIX, Site, opened
from tests.web.start import STARTED

LIVE: dict[str, Any] = {"r_live": "true"}
LAPSE_SECONDS = 1801
TRACK: dict[str, Any] = {
    "tasks": {"scan_interval_seconds": 0.1},
    "worker": {"agents": ["track"], "stats_listen": ""},
}


class Lab:
    """A hub with agent `track`, and a plugin that takes tasks from it."""

    def __init__(self, site: Site, clock: ManualClock) -> None:
        self.site = site
        self.clock = clock
        self.hub = Hub(site.client, site.url)

    async def task(self, event_name: str = "a", **query: Any) -> dict[str, Any]:
        """Publish an event and be handed it as a task."""
        await self.hub.fetch(kind="active", **LIVE, **query)
        await self.hub.publish(event_name)
        [event] = (await self.hub.gather(1, kind="active", **LIVE, **query)).events
        return event

    async def again(self, **query: Any) -> dict[str, Any]:
        """Be handed what comes back, once it does."""
        [event] = (await self.hub.gather(1, kind="active", **LIVE, **query)).events
        return event

    async def nothing(self, kind: str = "active", **query: Any) -> None:
        """Check that a consumer is given nothing now, and has nothing counted."""
        answer = await self.hub.fetch(kind=kind, **{**LIVE, "count": 9, **query})
        assert (answer.events, answer.info["filtered"]) == ([], 0)

    async def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks in flight."""
        page = await self.site.json("/api/tasks")
        tasks: list[dict[str, Any]] = page["tasks"]
        return tasks

    async def until(self, **state: Any) -> None:
        """Return when the only task in flight is in a state; given none, when there is no task."""
        async with asyncio.timeout(60):
            while True:
                tasks = await self.tasks()
                if not state and not tasks:
                    return
                if len(tasks) == 1 and state and state.items() <= tasks[0].items():
                    return
                await asyncio.sleep(0.02)

    async def lapse(self) -> None:
        """Let the time of the try in hand pass."""
        await self.until(state="running")
        self.clock.advance(LAPSE_SECONDS)

    async def say(self, task: dict[str, Any], status: str, **entity: Any) -> None:
        """Post a status about a task."""
        await self.hub.post("status", [status_of(task, status, **entity)])

    async def statuses(self) -> list[dict[str, Any]]:
        """Return every status there is."""
        found = await self.hub.fetch("status", name="all", r_historic=1, reset=1, count=1000)
        return found.events


@asynccontextmanager
async def opened_lab(folder: Path) -> AsyncIterator[Lab]:
    clock = ManualClock(STARTED)
    async with opened(folder, clock=clock, **TRACK) as site, running(site.parts):
        yield Lab(site, clock)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with opened_lab(tmp_path) as made:
        yield made


async def test_a_lost_task_comes_back_to_its_consumer_alone_with_a_new_id(lab: Lab) -> None:
    others: list[dict[str, Any]] = [
        {"name": "other"},
        {"version": "1.3"},
        {"r_action": "sourced"},
        {"debug": 1},
    ]
    for query in others:
        await lab.hub.fetch(kind="active", **LIVE, **query)
    first = await lab.task()
    for query in others:
        lab.clock.advance(1)  # one plugin and version has one id of an event in one second
        [event] = (await lab.hub.gather(1, kind="active", **LIVE, **query)).events
        await lab.say(event, "completed")
    await lab.lapse()
    await lab.until(state="offered")
    for query in others:
        await lab.nothing(**query)
    await lab.nothing(kind="passive")
    second = await lab.again(d_self=1, r_under_content_size=1, r_over_content_size=1)
    assert second["dequeued"] != first["dequeued"]
    assert second["retries"] == 1
    assert second["flags"] == {"retry": True}
    assert {**second, "dequeued": "", "flags": {}, "retries": 0} == {**first, "dequeued": "", "retries": 0}
    await lab.until(state="running", attempt=1, id=second["dequeued"], earlier=[first["dequeued"]])
    await lab.nothing()


async def test_a_consumer_that_only_looked_before_is_given_back_the_tasks_it_loses(lab: Lab) -> None:
    await lab.hub.fetch(**LIVE)
    first = await lab.task()
    await lab.lapse()
    await lab.until(state="offered")
    await lab.nothing(kind="passive")
    second = await lab.again()
    assert (second["retries"], second["kafka_key"]) == (1, first["kafka_key"])


async def test_a_task_is_tried_so_often_then_ends_with_one_status_and_is_parked(lab: Lab) -> None:
    tries = [await lab.task()]
    for number, pause_seconds in enumerate((0, 301, 901), start=1):
        await lab.lapse()
        if pause_seconds:
            await lab.until(state="waiting")
            await lab.nothing()
            lab.clock.advance(pause_seconds)
        tries.append(await lab.again())
        assert tries[-1]["retries"] == number
        assert tries[-1]["flags"] == {"retry": True}
    assert len({event["dequeued"] for event in tries}) == 4
    await lab.lapse()
    await lab.until()
    [status] = await lab.statuses()
    assert status["author"] == {"name": "plug", "version": "1.2", "category": "plugin"}
    assert status["entity"]["status"] == "error-network"
    assert status["entity"]["error"] == f"lost task: {tries[-1]['dequeued']}"
    assert status["entity"]["input"]["dequeued"] == tries[-1]["dequeued"]
    [entry] = await parked_entries(lab.site.parts)
    assert "lost 4 times" in entry.error
    lab.clock.advance(LAPSE_SECONDS)
    await lab.nothing()
    assert len(await lab.statuses()) == 1


@pytest.mark.parametrize(
    "status", ["completed", "completed-empty", "opt-out", "error-exception", "of another world"]
)
async def test_a_late_answer_to_an_earlier_try_takes_back_the_retry_that_waits(
    lab: Lab, status: str
) -> None:
    first = await lab.task()
    await lab.lapse()
    await lab.until(state="offered")
    assert len(await lab.site.records(system_topic(PREFIX, ERROR))) == 1
    await lab.say(first, status)
    await lab.until()
    await lab.nothing()


async def test_a_late_answer_to_an_earlier_try_ends_the_present_one(lab: Lab) -> None:
    first = await lab.task()
    await lab.lapse()
    second = await lab.again()
    await lab.until(id=second["dequeued"])
    await lab.say(first, "completed")
    await lab.until()
    await lab.say(second, "completed")
    lab.clock.advance(LAPSE_SECONDS)
    await lab.task("marker", name="other")
    await lab.until(plugin="other")  # it is the only one
    [marker] = (await lab.hub.fetch(kind="active", **LIVE, count=9)).events
    assert (marker["flags"], marker.get("retries")) == ({}, None), "nothing comes back"


async def test_a_plugin_that_is_heard_of_keeps_its_task_for_an_hour(lab: Lab) -> None:
    task = await lab.task()
    for _ in range(4):
        lab.clock.advance(15 * 60)
        await lab.say(task, "heartbeat")
        await lab.until(state="running", heard=lab.clock.unix())
    await lab.nothing()
    lab.clock.advance(LAPSE_SECONDS - 10)
    await lab.nothing()
    lab.clock.advance(10)
    assert (await lab.again())["retries"] == 1


async def test_statuses_nobody_waits_for_are_harmless(lab: Lab) -> None:
    task = await lab.task()
    await lab.say({**task, "dequeued": "invented by a feed.x.1"}, "completed")
    await lab.say({**task, "dequeued": "no dots at all"}, "heartbeat")
    await lab.say(task, "dequeued")
    await lab.until(state="running", id=task["dequeued"])
    await lab.say(task, "completed")
    await lab.until()
    await lab.say(task, "completed")
    await lab.say(task, "heartbeat")
    second = await lab.task("b")
    await lab.until(id=second["dequeued"])
    assert len(await lab.statuses()) == 6


async def test_a_retry_that_was_not_received_goes_out_again_though_nobody_noted_it_yet(
    tmp_path: Path,
) -> None:
    clock = ManualClock(STARTED)
    request = wanted("active", require_live=True)
    async with opened(tmp_path, clock=clock, **TRACK) as site:
        lab = Lab(site, clock)
        async with running(site.parts):
            await lab.task()
            await lab.lapse()
            await lab.until(state="offered")
        clock.advance(1)
        [lost] = (await lab.hub.lose(request)).events
        clock.advance(1)
        [again] = (await lab.hub.fetch(kind="active", **LIVE)).events
        assert again["retries"] == lost["retries"] == 1
        assert again["dequeued"] != lost["dequeued"]
        await lab.nothing()
        async with running(site.parts):
            await lab.until(state="running", id=again["dequeued"], attempt=1)


async def test_a_retry_that_was_not_received_is_not_given_to_a_passive_request(lab: Lab) -> None:
    await lab.task()
    await lab.lapse()
    await lab.until(state="offered")
    assert len((await lab.hub.lose(wanted("active", require_live=True))).events) == 1
    await lab.nothing(kind="passive")
    assert (await lab.again())["retries"] == 1


async def test_a_lost_task_of_a_deleted_event_does_not_come_back(lab: Lab) -> None:
    task = await lab.task()
    await lab.lapse()
    await lab.until(state="offered")
    await lab.hub.post("delete", [{**DELETE, "entity": {"ids": {"ids": [task["kafka_key"]]}}}])
    async with asyncio.timeout(30):
        while (await lab.hub.fetch(name="probe", r_historic=1, reset=1)).events:
            pass
    answer = await lab.hub.fetch(kind="active", **LIVE)
    assert answer.events == []
    assert answer.filters == {"FilterPreviouslyDeleted-deleted": 1}


async def test_a_restart_loses_no_retry(tmp_path: Path) -> None:
    async with opened_lab(tmp_path) as lab:
        first = await lab.task()
        await lab.lapse()
        await lab.until(state="offered")
        later = lab.clock.now()
    clock = ManualClock(later)
    async with opened(tmp_path, clock=clock, **TRACK) as site, running(site.parts):
        second = await Lab(site, clock).again()
        assert second["retries"] == 1
        assert second["dequeued"].rpartition(".")[0] == first["dequeued"].rpartition(".")[0]
