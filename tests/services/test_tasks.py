"""Tasks of a plugin that dies, on Kafka, while workers that follow them are killed: none is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.app import Parts
from pipeline.events.codec import decode_stored
from pipeline.events.models import StatusEvent
from pipeline.events.topics import system_topic
from tests.agents.installation import parked_entries, records_of
from tests.agents.standin import Standin
from tests.processes import until
from tests.services.lab import FOUR_SERVERS, Lab

pytestmark = [*FOUR_SERVERS, pytest.mark.timeout(400)]

TASKS = 100
TRACK = ("--agents", "track")
PATIENCE_SECONDS = 120.0
RETRIES = 2
QUICK: dict[str, Any] = {
    "lapse_seconds": 1.0,
    "scan_interval_seconds": 0.2,
    "backoff_seconds": [0.0, 0.1],
    "retries": RETRIES,
}


async def test_tasks_of_a_dead_plugin_come_back_and_are_parked_whoever_is_killed(
    lab_with: Callable[..., Lab],
) -> None:
    lab = lab_with(tasks=QUICK)
    async with lab.parts() as parts:
        dying, other = Standin(parts, "dying"), Standin(parts, "other")
        tries = [await dying.take(f"{n:032x}" for n in range(TASKS))]
        await other.say("completed", await other.take(f"{n:032x}" for n in range(TASKS)))
        for attempt in range(1, RETRIES + 1):
            with lab.worker(f"worker-{attempt}", *TRACK) as worker:
                # As soon as one of them is lost, and before all are, the worker is killed.
                await until(lambda n=attempt: offered(dying, n, at_least=1), PATIENCE_SECONDS)
                worker.kill()
            with lab.worker(f"after-{attempt}", *TRACK) as worker:
                await until(lambda n=attempt: offered(dying, n, at_least=TASKS), PATIENCE_SECONDS)
                again = [retry for retry in await dying.offered() if retry.attempt == attempt]
                assert {retry.previous for retry in again} == set(tries[-1])
                tries.append(await dying.take_retries(again))
                worker.kill()
        with lab.worker("parking", *TRACK) as worker:
            await until(lambda: parked(parts, at_least=1), PATIENCE_SECONDS)
            worker.kill()
        with lab.worker("last", *TRACK):
            await until(lambda: parked(parts, at_least=TASKS), PATIENCE_SECONDS)
            await lab.settled(parts, PATIENCE_SECONDS, agents=("track",))
        assert await other.offered() == []
        assert {retry.previous for retry in await dying.offered()} == {*tries[0], *tries[1]}
        entries = await parked_entries(parts)
        assert len(entries) == TASKS
        assert all(f"lost {RETRIES + 1} times" in entry.error for entry in entries)
        assert await given_up(parts) == set(tries[-1])


async def offered(plugin: Standin, attempt: int, *, at_least: int) -> bool:
    """Tell whether so many tasks were offered again for this try."""
    return sum(retry.attempt == attempt for retry in await plugin.offered()) >= at_least


async def parked(parts: Parts, *, at_least: int) -> bool:
    """Tell whether so many tasks are parked."""
    return len(await parked_entries(parts)) >= at_least


async def given_up(parts: Parts) -> set[str]:
    """Return the tries that have the final status of a lost task."""
    records = await records_of(parts, system_topic(parts.settings.events.prefix, "status"))
    statuses = [decode_stored("status", record.value) for record in records]
    entities = [status.entity for status in statuses if isinstance(status, StatusEvent)]
    return {entity.input.dequeued for entity in entities if entity.status == "error-network"}
