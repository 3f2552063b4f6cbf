"""The check list of the dispatcher contract (section 28), each entry by its number.

Here stand the tests of what no other file has. The others:

1 `test_hub_query`; 3 `test_hub_models` (omitted values), `test_hub_fetch` (times); 5 `test_hub_publish`;
6 `test_hub_fetch` (deadlines; an answer is not held up until it is full unless a setting says so);
7 `test_hub_positions`; 8 `tests/hub/test_filters`, `test_hub_fetch` (the worked table);
9 `test_hub_held_back`; 11, 12 and 17 `test_hub_streams`, `tests/identify`; 14 is about settings of the
reference, ours have their own names; 15 `test_hub_unanswered`, `test_hub_tasks`; 16 `test_hub_pause`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.errors import Unavailable
from pipeline.events.topics import EXPEDITE, system_topic
from pipeline.log.port import TopicPartition
from tests.events.samples import BY_MODEL, NODE, changed
from tests.web.fetching import Hub, named, status_of, wanted
from tests.web.site import PREFIX, SOURCED, Site, opened
from tests.web.start import STARTED

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
UNKNOWN = "nobody_knows_this"


def with_unknown(value: Any) -> Any:
    """Add a field nobody knows to every object of an event that has named fields."""
    if isinstance(value, list):
        return [with_unknown(each) for each in value]
    if not isinstance(value, dict):
        return value
    free = {"references", "config", "settings", "relationship", "info", "metadata"}
    inner = {name: each if name in free else with_unknown(each) for name, each in value.items()}
    return {**inner, UNKNOWN: "x"}


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("model", sorted(set(BY_MODEL) - {"retrohunt"}))
async def test_2_no_field_that_clients_do_not_know_ever_leaves(hub: Hub, model: str, kind: str) -> None:
    await hub.post(model, [with_unknown(BY_MODEL[model])])
    [event] = (await hub.fetch(model, kind, **HISTORIC)).events
    assert UNKNOWN not in json.dumps(event)
    allowed = {"track_source_references", "track_links", "track_authors", "track_link", "track_author"}
    assert set(event) <= {*BY_MODEL[model], "flags", "dequeued", *allowed}


async def test_4_the_same_moment_in_another_offset_is_another_event(hub: Hub) -> None:
    utc, offset = named("a"), named("a")
    utc["source"]["timestamp"] = "2026-01-01T10:00:00Z"
    offset["source"]["timestamp"] = "2026-01-01T12:00:00+02:00"
    await hub.post("binary", [utc, offset])
    first, second = (await hub.fetch(**HISTORIC, count=9)).events
    assert first["source"] == second["source"]
    assert first["kafka_key"] != second["kafka_key"]


async def test_4_only_the_parent_and_the_present_node_make_the_key(hub: Hub) -> None:
    paths = [["1", "2", "3"], ["9", "2", "3"], ["1", "9", "3"]]
    events = [
        changed(named("a"), "source.path", [{**NODE, "sha256": sha} for sha in path]) for path in paths
    ]
    await hub.post("binary", events)
    first, second, third = (await hub.fetch(**HISTORIC, count=9)).events
    assert first["kafka_key"] == second["kafka_key"] != third["kafka_key"]


async def test_10_results_of_an_expedited_task_are_expedited_and_nothing_else(site: Site, hub: Hub) -> None:
    flow: dict[str, Any] = {"r_expedite": 1, **LIVE}
    await hub.fetch(kind="active", **flow)
    await hub.fetch(**flow, name="ingestor")
    await hub.publish("file", flags={"expedite": True, "bypass_cache": True, "retry": True})
    [task] = (await hub.gather(1, kind="active", **flow)).events
    path = [*task["source"]["path"], {**NODE, "sha256": "bb", "action": "enriched"}]
    result = changed(named("result", "enriched"), "source.path", path)
    await hub.post("status", [status_of(task, "completed", results=[result])])
    file, got = (await hub.gather(2, **flow, name="ingestor")).events
    assert file["flags"] == {"bypass_cache": True, "expedite": True, "retry": True}
    assert got["flags"] == {"bypass_cache": True, "expedite": True}, "a retry is not inherited"
    assert "dequeued" not in got
    assert len(await site.records(system_topic(PREFIX, EXPEDITE))) == 2
    assert await site.records(f"azul.{PREFIX}.testing.binary.enriched") == []


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("broken", ["bounds", "committed", "commit", "append"])
async def test_13_a_log_that_does_not_answer_is_a_fetch_that_failed_and_loses_nothing(
    site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch, broken: str, kind: str
) -> None:
    await hub.publish("a", "b")
    assert (await hub.fetch(kind=kind, **HISTORIC)).names == ["a"]

    async def down(*_: Any) -> Any:
        raise Unavailable("ask the log", "it is away")

    with monkeypatch.context() as patch:
        patch.setattr(site.parts.log, broken, down)
        path = f"binary/{kind}?name=new&r-historic=1&deadline=0"
        answer = await hub.refused(path, 500)
        assert (answer["title"], answer["error_enum"]) == ("Fetch Failed", "ErrorStringEnumUnset")
    for name, expected in (("plug", ["b"]), ("new", ["a", "b"])):
        names: list[str] = []
        while len(names) < len(expected):
            names += (await hub.fetch(kind=kind, **HISTORIC, name=name, count=9)).names
        assert names == expected


async def test_13_tasks_that_cannot_be_noted_are_not_handed_out(
    site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.publish("a", "b")
    assert (await hub.lose(wanted("active", require_historic=True))).names == ["a"]

    async def down(*_: Any) -> Any:
        raise Unavailable("write to the log", "it is away")

    with monkeypatch.context() as patch:
        patch.setattr(site.parts.log, "append", down)
        path = "binary/active?name=plug&version=1.2&r-historic=1&deadline=0&count=2"
        assert (await hub.refused(path, 500))["title"] == "Fetch Failed"
    assert (await hub.gather(2, kind="active", **HISTORIC)).names == ["a", "b"]


async def test_13_a_consumer_too_many_is_told_as_bad_parameters_and_leaves_nothing(
    site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.fetch(**LIVE)
    monkeypatch.setattr(limits, "HUB_CONSUMERS_MAX", 1)
    assert (await hub.fetch(**LIVE)).info["ready"] is True
    answer = await hub.refused("binary/passive", r_live=1, name="one too many")
    assert answer["title"] == "bad parameters"
    place = TopicPartition(SOURCED, 0)
    group = f"{PREFIX}-azul-one too many--binary-allsrc-alltype-L-live"
    assert await site.parts.log.committed(group, [place]) == {}


async def test_13_consumers_that_have_not_asked_for_long_make_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(STARTED)
    monkeypatch.setattr(limits, "HUB_CONSUMERS_MAX", 2)
    async with opened(tmp_path, clock=clock) as site:
        hub = Hub(site.client, site.url)
        await hub.fetch(**LIVE, name="old")
        clock.advance(24 * 3600)
        await hub.fetch(**LIVE, name="young")
        await hub.refused("binary/passive", r_live=1, name="new")
        clock.advance(3600)
        assert (await hub.fetch(**LIVE, name="new")).info["ready"] is True
        await hub.refused("binary/passive", r_live=1, name="old")
