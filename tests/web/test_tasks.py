"""Tasks over HTTP: seen as they are, steered by a durable word."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.events.task import decode_task
from pipeline.hub.changelogs import app_id
from pipeline.log.port import NewRecord, TopicPartition
from tests.web.site import PREFIX, Site, opened, task


async def test_without_an_agent_there_are_no_tasks(site: Site) -> None:
    assert await site.json("/api/tasks") == {"tasks": [], "total": 0, "next": None}


async def test_a_table_made_later_is_found(site: Site) -> None:
    await site.json("/api/tasks")
    await site.make_tables()
    await site.put_tasks([task(1)])
    assert (await site.json("/api/tasks"))["total"] == 1


async def test_a_list_shows_what_was_durable_when_it_was_asked_for(site: Site) -> None:
    await site.make_tables()
    for number in range(20):
        await site.put_tasks([task(number)])
        assert (await site.json("/api/tasks"))["total"] == number + 1


async def test_tasks_are_filtered_and_paged_in_the_order_they_fall_due(site: Site) -> None:
    await site.make_tables()
    tasks = [task(n, state="held" if n % 3 == 0 else "running", plugin=f"p{n % 2}") for n in range(30)]
    await site.put_tasks(tasks)
    held = await site.json("/api/tasks?state=held&plugin=p0")
    assert {one["state"] for one in held["tasks"]} == {"held"}
    assert held["total"] == 5
    seen: list[str] = []
    after = ""
    while True:
        page = await site.json(f"/api/tasks?limit=7&after={after}")
        seen += [one["id"] for one in page["tasks"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [one.dequeued for one in sorted(tasks, key=lambda one: one.due)]


async def test_a_task_is_shown_with_its_event_by_the_id_of_any_try(site: Site) -> None:
    await site.make_tables()
    before = task(1).dequeued
    later = msgspec.structs.replace(task(1), dequeued=before + "9", attempt=1, earlier=(before,))
    await site.put_tasks([later])
    for name in (before, later.dequeued):
        found = await site.json(f"/api/tasks/{name}")
        assert found["id"] == later.dequeued
        assert found["attempt"] == 1
        assert found["event"]["entity"]["sha256"] == found["sha256"] == "1" * 64


@pytest.mark.parametrize("kind", ["hold", "release", "requeue", "hurry"])
async def test_a_word_to_a_task_is_durable_under_the_key_of_the_task(site: Site, kind: str) -> None:
    await site.make_tables()
    await site.put_tasks([task(1)])
    told = await site.json(f"/api/tasks/{task(1).dequeued}/{kind}", method="POST", status=202)
    assert (told["id"], told["told"]) == (task(1).dequeued, kind)
    [record] = await site.records(f"azul.{PREFIX}.system.task")
    assert record.offset == told["offset"]
    assert record.key == task(1).task.encode()
    event = decode_task(record.value or b"")
    assert (event.kind, event.dequeued, event.plugin) == (kind, task(1).dequeued, "entropy")


async def test_nothing_is_told_to_a_task_that_is_not_in_flight(site: Site) -> None:
    await site.make_tables()
    for kind in ("hold", "release", "requeue"):
        await site.json(f"/api/tasks/nope/{kind}", method="POST", status=404)
    await site.json("/api/tasks/nope", status=404)
    await site.json(f"/api/tasks/{task(1).dequeued}/kill", method="POST", status=404)
    await site.json(f"/api/tasks/{task(1).dequeued}/hold", status=405)
    assert not await site.records(f"azul.{PREFIX}.system.task")


@pytest.mark.parametrize(
    "plugin", ["with/slash", "per%cent", "sp ace", "ünï", "..", "<b>", "?q=1#x", "{b}"]
)
async def test_a_plugin_may_be_called_anything(site: Site, plugin: str) -> None:
    await site.make_tables()
    await site.put_tasks([task(1, plugin=plugin)])
    name = quote(task(1, plugin=plugin).dequeued, safe="")
    assert (await site.json(f"/api/tasks/{name}"))["plugin"] == plugin
    await site.json(f"/api/tasks/{name}/hold", method="POST", status=202)


async def test_a_finished_task_is_gone(site: Site) -> None:
    await site.make_tables()
    await site.put_tasks([task(1), task(2)])
    await site.forget_task(task(1))
    assert [one["id"] for one in (await site.json("/api/tasks"))["tasks"]] == [task(2).dequeued]


NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
STATUS = TopicPartition(f"azul.{PREFIX}.system.status", 0)


async def lapses(site: Site) -> list[tuple[str, float | None, float]]:
    """Return what was told about deadlines: the task, the deadline, and up to when plugins were heard."""
    records = await site.records(f"azul.{PREFIX}.system.task")
    events = [decode_task(record.value or b"") for record in records]
    assert {event.kind for event in events} <= {"lapsed"}
    return [(event.dequeued, event.deadline, event.timestamp) for event in events]


async def test_a_pass_by_hand_notices_the_overdue_tasks_and_no_others(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with opened(tmp_path, clock) as site:
        await site.make_tables()
        now = clock.unix()
        overdue = [task(1, due=now - 10), task(2, due=now, state="waiting"), task(3, due=now - 20)]
        others = [task(4, due=now + 1), task(5, due=now - 100, state="held")]
        await site.put_tasks([*overdue, *others])
        told = await site.json("/api/tasks/process-lost", method="POST", status=202)
        assert told == {"lapsed": 3, "until": now}
        assert await lapses(site) == [
            (one.dequeued, one.due, now) for one in sorted(overdue, key=lambda one: one.due)
        ]
        clock.advance(1)
        told = await site.json("/api/tasks/process-lost", method="POST", status=202)
        assert told == {"lapsed": 4, "until": now + 1}


async def test_no_task_is_called_lost_while_what_plugins_said_is_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, ManualClock(NOW)) as site:
        await site.make_tables()
        await site.put_tasks([task(1)])
        await site.parts.log.append([NewRecord(STATUS.topic, b"k", b"{}")])
        with monkeypatch.context() as impatient:
            impatient.setattr(limits, "LOST_WAIT_SECONDS", 0.2)
            problem = await site.json("/api/tasks/process-lost", method="POST", status=503)
        assert "agent track has not read all statuses" in problem["why"]
        assert await lapses(site) == []
        await site.parts.log.commit(app_id(PREFIX, "track"), {STATUS: 1})
        assert (await site.json("/api/tasks/process-lost", method="POST", status=202))["lapsed"] == 1


async def test_a_pass_by_hand_without_any_task_finds_none(site: Site) -> None:
    assert (await site.json("/api/tasks/process-lost", method="POST", status=202))["lapsed"] == 0


async def test_ten_thousand_tasks_are_listed(site: Site) -> None:
    await site.make_tables()
    await site.put_tasks([task(number) for number in range(10_000)])
    page = await site.json("/api/tasks?limit=1000")
    assert page["total"] == 10_000
    assert len(page["tasks"]) == 1000


@pytest.mark.parametrize("query", ["state=sleeping", "limit=0", "after=nonsense", "after=WzEsMl0", "x=1"])
async def test_a_list_that_makes_no_sense_is_refused(site: Site, query: str) -> None:
    await site.json(f"/api/tasks?{query}", status=400)
