"""What is not handed out: too deep, deleted, aged off, unreadable (dispatcher contract, section 12)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.log.port import NewRecord, Record
from tests.events.samples import DELETE, NODE, SOURCE
from tests.web.fetching import Hub, fetch_avro, named, names_of
from tests.web.site import PREFIX, SOURCED, Site, opened
from tests.web.start import STARTED

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
DELETED = {"FilterPreviouslyDeleted-deleted": 1}
TOO_DEEP = "FilterTooDeep-too_deep"


async def append(site: Site, *values: bytes | None, topic: str = SOURCED) -> None:
    """Put values on a topic as somebody else might."""
    await site.parts.log.append([NewRecord(topic, b"k", value) for value in values])


async def test_tasks_go_ten_nodes_deep_and_others_eleven(hub: Hub) -> None:
    for depth in (9, 10, 11, 12):
        await hub.publish(depth, depth=depth)
    active = await hub.fetch(kind="active", **HISTORIC, count=9)
    assert (active.names, active.filters) == (["9", "10"], {TOO_DEEP: 2})
    passive = await hub.fetch(**HISTORIC, count=9, name="q")
    assert (passive.names, passive.filters) == (["9", "10", "11"], {TOO_DEEP: 1})


async def test_what_ages_off_on_the_log_is_not_handed_out(tmp_path: Path) -> None:
    clock = ManualClock(STARTED)
    sources = {"testing": {"expire_events_after": "7 days"}}
    async with opened(tmp_path, clock=clock, events={"sources": sources}) as site:
        hub = Hub(site.client, site.url)
        for name, day in (("old", "15"), ("new", "20")):
            source = {**SOURCE, "timestamp": f"2026-11-{day}T12:00:00Z", "references": {"name": name}}
            await hub.post("binary", [{**named(name), "source": source}])
        assert (await hub.fetch(**HISTORIC, count=9)).names == ["old", "new"]
        clock.advance(24 * 3600)
        assert (await hub.fetch(**HISTORIC, count=9, name="b")).names == ["old", "new"], "just not yet"
        clock.advance(1)
        late = await hub.fetch(**HISTORIC, count=9, name="c")
        assert (late.names, late.filters) == (["new"], {"PipelineAgeoff-ageoff": 1})


async def tombstones(site: Site, topic: str, key: str) -> list[Record]:
    """Return the tombstones of a key; they are written a moment after the answer."""
    async with asyncio.timeout(30):
        while True:
            found = [
                record
                for record in await site.records(topic)
                if record.value is None and record.key == key.encode()
            ]
            if found:
                return found


@pytest.mark.parametrize("flow", [HISTORIC, LIVE])
@pytest.mark.parametrize("by", ["ids", "link", "author", "submission"])
async def test_deleted_events_are_not_handed_out_and_buried(
    site: Site, hub: Hub, by: str, flow: dict[str, Any]
) -> None:
    await hub.fetch(**flow)
    child = {**NODE, "sha256": "bb", "action": "extracted", "author": {"name": "eve"}}
    event = named("gone", "extracted")
    event["source"]["path"].append(child)
    event["source"]["timestamp"] = "2026-02-02T00:00:00Z"
    answer = await hub.post("binary", [event], include_ok="true")
    await hub.publish("kept", action="extracted", author={"name": "feed"})
    stored = answer["ok"][0]
    entity: dict[str, Any] = {
        "ids": {"ids": {"ids": [stored["kafka_key"]]}},
        "link": {"link": {"track_link": stored["track_links"][0]}},
        "author": {"author": {"track_author": ".eve.", "timestamp": "2030-01-01T00:00:00Z"}},
        "submission": {
            "submission": {
                "track_source_references": stored["track_source_references"],
                "timestamp": "2026-02-02T00:00:00Z",
            }
        },
    }[by]
    await hub.post("delete", [{**DELETE, "action": by, "entity": entity}])
    async with asyncio.timeout(30):  # a deletion is followed a moment late
        while (await hub.fetch(**HISTORIC, name="probe", reset=1, count=9)).names != ["kept"]:
            pass
    got = await hub.gather(1, **flow, count=9)
    assert got.names == ["kept"]
    assert got.filters == DELETED
    topic = f"azul.{PREFIX}.testing.binary.extracted"
    assert await tombstones(site, topic, stored["kafka_key"])
    kept = {record.key for record in await site.records(topic) if record.value is None}
    assert kept == {stored["kafka_key"].encode()}, "nothing else is buried"


async def test_every_deletion_counts_for_what_was_read_before_it(site: Site, hub: Hub) -> None:
    answer = await hub.post("binary", [named(number) for number in range(3)], include_ok="1")
    left = ["0", "1", "2"]
    for event in answer["ok"]:
        assert (await hub.fetch(**HISTORIC, name=f"before {len(left)}", count=9)).names == left
        await hub.post("delete", [{**DELETE, "entity": {"ids": {"ids": [event["kafka_key"]]}}}])
        left = left[1:]
        async with asyncio.timeout(30):
            while (await hub.fetch(**HISTORIC, name="probe", reset=1, count=9)).names != left:
                pass
        await tombstones(site, SOURCED, event["kafka_key"])


async def test_what_is_published_again_after_its_deletion_was_read_is_not_handed_out(
    site: Site, hub: Hub
) -> None:
    answer = await hub.post("binary", [named("gone")], include_ok="1")
    key = answer["ok"][0]["kafka_key"]
    [record] = await site.sourced()
    assert (await hub.fetch(**HISTORIC)).names == ["gone"]
    await hub.post("delete", [{**DELETE, "entity": {"ids": {"ids": [key]}}}])
    async with asyncio.timeout(30):
        while (await hub.fetch(**HISTORIC, name="probe", reset=1)).names:
            pass
    await append(site, record.value)
    await hub.publish("kept")
    got = await hub.gather(1, **HISTORIC, count=9)
    assert (got.names, got.filters) == (["kept"], DELETED)


async def test_tombstones_and_what_cannot_be_read_are_passed_over_and_not_counted(
    site: Site, hub: Hub
) -> None:
    await hub.fetch(**LIVE, name="live")
    await hub.publish("first")
    bad = [None, b"", b"\x00", b"{", b"[]", b"null", b'{"source":7}', b"[" * 100_000, b"\xff"]
    await append(site, *bad)
    await hub.publish("last")
    answer = await hub.fetch(**HISTORIC, count=9)
    assert (answer.names, answer.info["filtered"]) == (["first", "last"], 0)
    live = await hub.gather(2, **LIVE, name="live")
    assert (live.names, live.filters) == (["first", "last"], {})
    assert (await hub.fetch(**HISTORIC, count=9)).names == []


UNREADABLE: dict[str, dict[str, Any]] = {
    "a bad retry count": {"retries": "x", "dequeued": "d"},
    "a bad time beside a posted id": {"timestamp": "yesterday", "dequeued": "d"},
    "an old version with a bad part": {"model_version": 5, "retries": "x"},
    "a version from the future": {"model_version": 99},
    "a version that never was": {"model_version": 1},
}


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_can_only_half_be_read_stops_no_consumer(
    site: Site, hub: Hub, what: str, kind: str
) -> None:
    await append(site, json.dumps({**named("half"), **UNREADABLE[what]}).encode())
    await hub.publish("whole")
    names: list[str] = []
    async with asyncio.timeout(30):
        while "whole" not in names:
            names += (await hub.fetch(kind=kind, **HISTORIC, count=9)).names
    assert (await hub.fetch(kind=kind, **HISTORIC)).names == []


@pytest.mark.parametrize("kind", ["active", "passive"])
@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_can_only_half_be_read_is_left_out_of_an_avro_answer(
    site: Site, what: str, kind: str
) -> None:
    hub = Hub(site.client, site.url)
    await append(site, json.dumps({**named("half"), **UNREADABLE[what]}).encode())
    await hub.publish("whole")
    answer = await fetch_avro(site.client, site.url, kind=kind, count=9, **HISTORIC)
    assert names_of(json.loads(msgspec.json.encode(event)) for event in answer)[-1] == "whole"
    assert (await hub.fetch(kind=kind, **HISTORIC)).names == []


async def test_a_posted_dequeued_is_replaced_in_tasks(hub: Hub) -> None:
    await hub.publish("a", dequeued="mine", retries=2)
    [event] = (await hub.fetch(kind="active", **HISTORIC)).events
    assert event["dequeued"].startswith(f"{event['kafka_key']}.plug.1.2.")
    assert event["retries"] == 2, "carried, never touched"


async def test_a_stored_event_with_room_at_its_end_becomes_a_task_too(site: Site, hub: Hub) -> None:
    await append(site, json.dumps({**named("a"), "kafka_key": "k"}).encode() + b"\n ")
    [event] = (await hub.fetch(kind="active", **HISTORIC)).events
    assert event["dequeued"].startswith("k.plug.1.2.")


@pytest.mark.parametrize("name", ["plug", "n" * 8000, "\x01" * 1300])
@pytest.mark.parametrize("dequeued", [{}, {"dequeued": "d"}])
async def test_the_largest_event_becomes_a_task_of_whoever(
    site: Site, hub: Hub, dequeued: dict[str, str], name: str
) -> None:
    event = {**named("large"), "kafka_key": "k", **dequeued, "author": {"name": ""}}
    room = limits.EVENT_MAX_BYTES - len(json.dumps(event).encode())
    large = json.dumps({**event, "author": {"name": "x" * room}}).encode()
    assert len(large) == limits.EVENT_MAX_BYTES
    await append(site, large)
    await hub.publish("next")
    answer = await hub.fetch(kind="active", **HISTORIC, name=name, count=9)
    assert answer.names == ["large", "next"]


async def test_a_name_that_would_not_fit_into_a_task_is_refused(hub: Hub) -> None:
    refused = await hub.refused("binary/active", r_live=1, name="\x01" * 1400)
    assert refused["detail"].startswith("bad parameter for name: ")
