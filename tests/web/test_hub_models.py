"""Fetching what is no binary event, and in Avro (dispatcher contract, sections 6, 10, 11.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.events.codec import decode_stored
from pipeline.events.topics import TASK, system_topic
from tests.events.samples import BINARY, BY_MODEL, DOWNLOAD, NODE, SOURCE, STATUS, changed
from tests.web.fetching import Hub, fetch_avro, named
from tests.web.site import PREFIX, Site, opened

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
OTHERS = sorted(set(BY_MODEL) - {"binary"})


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("model", OTHERS)
async def test_every_model_is_fetched_as_it_was_stored_and_as_no_task(
    site: Site, hub: Hub, model: str, kind: str
) -> None:
    await hub.fetch(model, kind, **LIVE, name="live")
    await hub.post(model, [BY_MODEL[model], BY_MODEL[model]])
    answer = await hub.fetch(model, kind, **HISTORIC, count=9)
    stored = await site.records(system_topic(PREFIX, model))
    assert answer.events == [json.loads(record.value or b"") for record in stored]
    assert len(answer.events) == 2
    assert (await hub.gather(2, model, kind, **LIVE, name="live")).events == answer.events
    assert not any("dequeued" in event for event in answer.events)
    assert await site.records(system_topic(PREFIX, TASK)) == [], "only binary events are tasks"


async def test_omitted_values_and_flags_are_as_the_contract_says(hub: Hub) -> None:
    await hub.post("delete", [BY_MODEL["delete"]])
    [deletion] = (await hub.fetch("delete", **HISTORIC)).events
    assert set(deletion["entity"]) == {"reason", "ids"}, "clients cannot read the others empty"
    await hub.post("insert", [BY_MODEL["insert"]])
    [insert] = (await hub.fetch("insert", **HISTORIC)).events
    assert insert["track_author"] == "user.bob."
    assert insert["track_link"].startswith("aa.bb.2026_01_01T00_00_00Z_00.user.bob.")
    await hub.post("status", [STATUS])
    [status] = (await hub.fetch("status", **HISTORIC)).events
    assert status["entity"]["input"]["flags"] == {}
    await hub.publish("a")
    [event] = (await hub.fetch(**HISTORIC)).events
    assert event["flags"] == {}
    assert "" not in event.values()


async def test_statuses_are_judged_by_their_input(hub: Hub) -> None:
    def status(action: str, source: str = "testing", author: str = "feed") -> dict[str, Any]:
        task = {**named("x", action, source=source), "author": {"name": author}, "dequeued": "k.p.1.2"}
        return changed(STATUS, "entity.input", task)

    await hub.post(
        "status",
        [status("sourced"), status("mapped"), status("sourced", "scan"), status("sourced", author="plug")],
    )
    query: dict[str, Any] = {"r_source": "testing", "r_action": "sourced", "d_self": 1}
    answer = await hub.fetch("status", **HISTORIC, **query, count=9)
    assert len(answer.events) == 1
    assert answer.filters == {
        "FilterConsumerRules-reject_event_type": 1,
        "FilterConsumerRules-reject_source": 1,
        "FilterConsumerRules-reject_self": 1,
    }
    ignored: dict[str, Any] = {"r_content": 1, "r_streams": "pcap", "r_under_content_size": 1}
    assert len((await hub.fetch("plugin", **HISTORIC, **ignored, count=9)).events) == 0
    await hub.post("plugin", [BY_MODEL["plugin"]])
    assert (await hub.gather(1, "plugin", **HISTORIC, **ignored)).filters == {}


async def test_statuses_and_binary_events_of_old_submissions_age_off(tmp_path: Path) -> None:
    old = {**SOURCE, "timestamp": "2026-01-01T00:00:00Z"}
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        young = changed(STATUS, "entity.input.source.timestamp", "2999-01-01T00:00:00Z")
        await hub.post("status", [STATUS, young])
        await hub.post("binary", [{**BINARY, "source": old}, {**named("b"), "action": "sourced"}])
        await hub.post("download", [DOWNLOAD])
        assert len((await hub.fetch(**HISTORIC, count=9)).events) == 2
    sources = {"testing": {"expire_events_after": "1 days"}}
    async with opened(tmp_path, events={"sources": sources}) as site:
        hub = Hub(site.client, site.url)
        answer = await hub.fetch("status", **HISTORIC, count=9)
        assert (len(answer.events), answer.filters) == (1, {"PipelineAgeoff-ageoff": 1})
        answer = await hub.fetch(**HISTORIC, name="late", count=9)
        assert (answer.events, answer.filters) == ([], {"PipelineAgeoff-ageoff": 2})
        answer = await hub.fetch("download", **HISTORIC, count=9)
        assert (len(answer.events), answer.filters) == (1, {}), "only binary events and statuses age off"


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("model", sorted(BY_MODEL))
async def test_an_avro_answer_holds_the_same_events_as_one_in_json(
    site: Site, hub: Hub, model: str, kind: str
) -> None:
    samples = [BY_MODEL[model]]
    if model == "binary":
        path = [{**NODE, "timestamp": "2026-11-01T10:20:30.123456+05:30"}]
        samples = [named("a", depth=3), {**named("b"), "source": {**SOURCE, "path": path}}]
    await hub.post(model, samples)
    json_answer = await hub.fetch(model, kind, **HISTORIC, count=9, name="json")
    events = await fetch_avro(site.client, site.url, model, kind, **HISTORIC, name="avro", count=9)
    decoded = [json.loads(msgspec.json.encode(event)) for event in events]
    for event in (*decoded, *json_answer.events):
        dequeued = event.pop("dequeued", None)
        assert (dequeued is not None) is (model == "binary" and kind == "active")
    assert decoded == json_answer.events


async def test_no_event_is_an_empty_avro_bulk(site: Site) -> None:
    assert await fetch_avro(site.client, site.url, **HISTORIC) == []


async def test_a_stored_event_of_an_older_version_leaves_as_one_of_todays(site: Site, hub: Hub) -> None:
    from pipeline.log.port import NewRecord

    old = {**named("old"), "model_version": 4, "kafka_key": "k", "file_format_legacy": "x"}
    topic = f"azul.{PREFIX}.testing.binary.sourced"
    await site.parts.log.append([NewRecord(topic, b"k", json.dumps(old).encode())])
    for kind in ("passive", "active"):
        [event] = (await hub.fetch(kind=kind, **HISTORIC, name=kind)).events
        assert event["model_version"] == 6
        assert "file_format_legacy" not in event
        assert event["flags"] == {}
        assert decode_stored("binary", json.dumps(event).encode())
