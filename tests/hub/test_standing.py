"""What is out at a consumer, and its filter in words."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.events.parked import ParkedEntry, ParkedState
from pipeline.hub.notices import Registered
from pipeline.hub.standing import Census, Out, belongs
from pipeline.hub.tasks import State, Task
from pipeline.hub.wanted import Wanted
from pipeline.hub.wanted_words import in_words


def consumer(name: str = "plug", *, is_task: bool = True, live: bool = True) -> Registered:
    wanted = Wanted(name=name, version="1.2", model="binary", is_task=is_task, require_live=live)
    return Registered(wanted.consumer.key, wanted, 0.0)


def task(
    number: int, owner: str, *, plugin: str = "plug", state: State = "running", attempt: int = 0
) -> Task:
    return Task(
        dequeued=f"{number}.{plugin}.1.2.0",
        task=f"{number}.{plugin}.1.2",
        plugin=plugin,
        version="1.2",
        state=state,
        attempt=attempt,
        taken=0,
        heard=0,
        due=0,
        event=msgspec.Raw(b"{}"),
        offset=0,
        consumer_key=owner,
    )


def entry(
    key: str, *, reason: str = "LostTask", state: ParkedState = "parked", error: str = ""
) -> ParkedEntry:
    return ParkedEntry(
        id=key,
        agent="track",
        topic="t",
        partition=0,
        offset=0,
        key=key.encode(),
        reason=reason,
        error=error,
        object_key="o",
        size_bytes=0,
        parked_at=0,
        state=state,
    )


def test_each_task_counts_for_the_consumer_it_goes_back_to_and_no_other() -> None:
    here, there = consumer(), consumer(live=False)
    passive = consumer(is_task=False)
    assert passive.key == here.key
    tasks = [
        task(1, here.key),
        task(2, here.key, state="waiting", attempt=2),
        task(3, there.key, state="held"),
        task(4, "", state="offered", attempt=1),
        task(5, "", plugin="other"),
    ]
    census = Census(tasks, [])
    assert census.out_at(here) == Out({"running": 1, "waiting": 1, "offered": 1}, 2, 0)
    assert census.out_at(there) == Out({"held": 1, "offered": 1}, 1, 0)
    assert census.out_at(consumer("third")) == Out({}, 0, 0)
    for each in (here, there, consumer("other"), consumer("third"), passive):
        counted = sum(census.out_at(each).tasks.values())
        assert counted == sum(belongs(one, each) for one in tasks), each.key


def test_only_lost_tasks_of_the_plugin_and_version_that_are_still_parked_count() -> None:
    key = "0f51fe52ec5dde5eb7d96bbb28aa9534"
    parked = [
        entry(f"{key}.plug.1.2"),
        entry(f"{key[::-1]}.plug.1.2"),
        entry(f"{key}.plug.1.2", state="replayed"),
        entry(f"{key}.plug.1.2", reason="EventCorrupt"),
        entry(f"{key}.plug.1.20"),
        entry(f"{key}.plug.1"),
        entry("plug.1.2x"),
        entry(""),
    ]
    assert Census([], parked).out_at(consumer()).parked == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, []),
        ({"require_content": True}, ["sourced and extracted events with content"]),
        (
            {"require_streams_map": {"content": {"text/": True, "pdf": True}, "*": {}}},
            ["no streams but content (text/… pdf…), others (any format)"],
        ),
        (
            {"require_over_content_size": 5, "require_under_content_size": 9},
            ["content of at least 5 bytes", "content of at most 9 bytes"],
        ),
        (
            {"deny_events": ("mapped", "enriched"), "deny_self": True},
            ["not mapped, enriched", "nothing by p"],
        ),
        ({"max_security": "LOW", "filter": "a.b"}, ["readable with LOW", "where a.b"]),
    ],
)
def test_every_rule_of_a_filter_is_said(asked: dict[str, object], words: list[str]) -> None:
    wanted = msgspec.convert({"name": "p", "version": "1", "model": "binary", **asked}, Wanted)
    assert in_words(wanted) == words
