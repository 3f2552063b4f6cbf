"""Fetching as clients of the dispatcher do it (dispatcher contract, sections 10, 11, 27)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.events.samples import NODE, SOURCE, changed
from tests.web.fetching import BOUNDARY, Hub, named, parts_of
from tests.web.site import Site

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
BOTH = {**LIVE, **HISTORIC}
ALL = {"r_expedite": "true", **BOTH}


async def test_the_bytes_of_an_answer_are_those_of_the_contract(site: Site, hub: Hub) -> None:
    await hub.publish("a")
    query = {"name": "p", "version": "1", "r-historic": "true", "deadline": "0"}
    async with site.client.get(f"{site.url}/api/v2/event/binary/passive", params=query) as response:
        body = await response.read()
        found = BOUNDARY.fullmatch(response.headers["Content-Type"])
    assert found
    assert int(response.headers["Content-Length"]) == len(body)
    parts = parts_of(body, found[1])
    assert parts["info"] == b'{"filtered":0,"fetched":1,"ready":true,"paused":false}'
    part = 'Content-Disposition: form-data; name="%s"; filename="%s.json"\r\n'
    kind = "Content-Type: application/octet-stream\r\n\r\n"
    sides = f"--{found[1]}\r\n{part % ('info', 'info')}{kind}".encode(), b"\r\n"
    middle = f"--{found[1]}\r\n{part % ('events', 'events')}{kind}".encode()
    assert body == (
        sides[0] + parts["info"] + sides[1] + middle + parts["events"] + f"\r\n--{found[1]}--\r\n".encode()
    )
    [record] = await site.sourced()
    assert parts["events"] == b'{"events":[%b]}' % (record.value or b"")


async def test_every_answer_has_a_boundary_of_its_own_and_no_event_is_an_empty_list(
    site: Site, hub: Hub
) -> None:
    boundaries = set()
    for _ in range(5):
        url = f"{site.url}/api/v2/event/binary/passive?r-live=1&deadline=0"
        async with site.client.get(url) as response:
            found = BOUNDARY.fullmatch(response.headers["Content-Type"])
            assert found
            boundaries.add(found[1])
            assert parts_of(await response.read(), found[1])["events"] == b'{"events":[]}'
    assert len(boundaries) == 5


async def test_the_worked_example_of_a_task(hub: Hub) -> None:
    await hub.publish("a")
    query: dict[str, Any] = {"count": 1, "deadline": 2, **ALL}
    answer = await hub.fetch(kind="active", **query)
    assert answer.info == {"filtered": 0, "fetched": 1, "ready": True, "paused": False}
    [task] = answer.events
    assert task["model_version"] == 6
    assert task["flags"] == {}
    assert re.fullmatch(rf"{task['kafka_key']}\.plug\.1\.2\.\d{{10}}", task["dequeued"])
    assert re.fullmatch(r"[0-9a-f]{32}", task["kafka_key"])


async def test_the_worked_example_of_a_completion(site: Site, hub: Hub) -> None:
    await hub.publish("a")
    [task] = (await hub.fetch(kind="active", **HISTORIC)).events
    task["dequeued"] = "0f51fe52ec5dde5eb7d96bbb28aa9534.plug.1.2.1795252636"
    result = changed(named("child", "enriched"), "source.path", [NODE, {**NODE, "action": "enriched"}])
    status = {
        **named("x"),
        "entity": {"status": "completed", "runtime": 1.5, "input": task, "results": [result]},
    }
    status = {name: status[name] for name in ("model_version", "timestamp", "author", "entity")}
    await hub.post("status", [status])
    [stored] = (await hub.fetch("status", r_historic="1", name="q")).events
    assert stored["kafka_key"] == "91d2a6f20f67fde313a580760520b85d"
    assert "results" not in stored["entity"]
    assert (stored["entity"]["status"], stored["entity"]["runtime"]) == ("completed", 1.5)
    [enriched] = (await hub.fetch(r_historic="1", name="q", r_action="enriched")).events
    assert enriched["source"]["references"] == {"name": "child"}
    assert len(await site.records("azul.test01.testing.binary.enriched")) == 1


# The four events of the table of section 27: label, format and size of each stream.
STREAMS: dict[str, list[dict[str, Any]]] = {
    "sourced": [{"label": "content", "file_format": "text/plain"}],
    "augmented": [
        {"label": "content", "file_format": "text/plain"},
        {"label": "pcap", "file_format": "network/tcpdump"},
    ],
    "extracted": [{"label": "content", "file_format": "executable/windows/pe32"}],
    "enriched": [],
}
REJECT = "FilterConsumerRules-reject"


@pytest.mark.parametrize(
    ("query", "returned", "filters"),
    [
        ({"r_streams": "content"}, ["sourced", "extracted", "enriched"], {f"{REJECT}_stream": 1}),
        (
            {"r_streams": "content,text"},
            ["sourced", "enriched"],
            {f"{REJECT}_file_format": 1, f"{REJECT}_stream": 1},
        ),
        ({"r_streams": ["content", "pcap,network"]}, ["augmented"], {f"{REJECT}_stream": 3}),
        ({"r_streams": "*,text"}, ["sourced", "enriched"], {f"{REJECT}_file_format": 2}),
        (
            {"r_under_content_size": 50},
            [],
            {f"{REJECT}_content_too_large": 3, f"{REJECT}_no_content": 1},
        ),
        ({"r_content": 1}, ["sourced", "extracted"], {}),
    ],
)
async def test_the_worked_table_of_filters(
    hub: Hub, query: dict[str, Any], returned: list[str], filters: dict[str, int]
) -> None:
    await hub.fetch(**LIVE, **query)
    for action, streams in STREAMS.items():
        entity = {"sha256": "aa", "datastreams": [{**stream, "size": 100} for stream in streams]}
        await hub.publish(action, action=action, entity=entity)
    got: list[str] = []
    counted: dict[str, int] = {}
    async with asyncio.timeout(30):
        while len(got) + sum(counted.values()) < len(returned) + sum(filters.values()):
            answer = await hub.fetch(**LIVE, **query, count=10, deadline=1)
            got += answer.names
            for name, count in answer.filters.items():
                counted[name] = counted.get(name, 0) + count
    assert sorted(got) == sorted(returned)
    assert counted == filters


async def test_no_filters_are_told_when_nothing_was_held_back(hub: Hub) -> None:
    await hub.publish("a", "b")
    assert "filters" not in (await hub.fetch(**HISTORIC, count=9)).info
    answer = await hub.fetch(**HISTORIC, count=9, name="q", r_source="scan")
    assert "filters" not in answer.info, "sources are chosen by topic"


async def test_expedite_comes_before_retry_before_live_before_historic(hub: Hub) -> None:
    await hub.publish("old")
    assert (await hub.fetch(kind="active", **ALL)).names == ["old"], "the only one there is"
    await hub.fetch(kind="active", name="ahead", r_expedite=1, **LIVE)
    await hub.publish("live")
    await hub.publish("retry", flags={"retry": True})
    await hub.publish("expedited", flags={"expedite": True, "retry": True})
    # When one consumer has all of it, everything was followed, and the other finds it all at once.
    ahead = await hub.gather(3, kind="active", name="ahead", r_expedite=1, **LIVE)
    assert sorted(ahead.names) == ["expedited", "live", "retry"]
    order = [(await hub.fetch(kind="active", **ALL)).names for _ in range(4)]
    assert order == [["expedited"], ["retry"], ["live"], ["live"]]


@pytest.mark.parametrize(
    ("flow", "got"),
    [
        ({"r_expedite": 1}, ["new expedited"]),
        (LIVE, ["new"]),
        (HISTORIC, ["old", "new"]),
        (BOTH, ["new", "old", "new"]),
        ({"r_expedite": 1, **HISTORIC}, ["new expedited", "old", "new"]),
    ],
)
async def test_each_flow_flag_reads_its_own(hub: Hub, flow: dict[str, Any], got: list[str]) -> None:
    await hub.publish("old")
    await hub.publish("old expedited", flags={"expedite": True})
    registered = await hub.fetch(**flow, r_action="sourced", count=2)
    await hub.publish("new")
    await hub.publish("new expedited", flags={"expedite": True})
    await hub.fetch(name="marker", **HISTORIC, count=9)
    left = len(got) - len(registered.names)
    names = registered.names + (await hub.gather(left, **flow, r_action="sourced")).names
    assert sorted(names) == sorted(got)
    assert (await hub.fetch(**flow, r_action="sourced", count=9)).names == []


async def test_an_answer_comes_as_soon_as_there_is_something(hub: Hub) -> None:
    await hub.publish("a", "b", "c")
    async with asyncio.timeout(20):
        assert (await hub.fetch(**HISTORIC, count=1000, deadline=50)).names == ["a", "b", "c"]


async def test_a_waiting_fetch_is_answered_when_an_event_comes(hub: Hub) -> None:
    await hub.fetch(**LIVE)
    waiting = asyncio.create_task(hub.fetch(**LIVE, count=1000, deadline=50))
    async with asyncio.timeout(20):
        await hub.publish("a")
        assert (await waiting).names == ["a"]


async def test_a_deadline_of_zero_does_not_wait_and_another_is_kept(hub: Hub) -> None:
    time = asyncio.get_running_loop().time
    async with asyncio.timeout(20):
        assert (await hub.fetch(**LIVE, deadline=0)).events == []
        assert (await hub.fetch(**LIVE, deadline=-5)).events == []
    before = time()
    assert (await hub.fetch(**LIVE, deadline=1)).events == []
    assert 0.9 < time() - before < 20


async def test_a_count_is_never_exceeded(hub: Hub) -> None:
    await hub.publish(*range(25))
    got = []
    for count in (1, 0, 2, 7, 9, 100):
        answer = await hub.fetch(**HISTORIC, count=count)
        assert len(answer.events) <= max(count, 1)
        got += answer.names
    assert got == [str(number) for number in range(25)]


async def test_what_cannot_be_asked_for_is_refused_in_the_contracts_form(hub: Hub) -> None:
    answer = await hub.refused("binary/passive", name="p")
    assert answer["title"] == "bad parameters"
    assert answer["error_enum"] == "ErrorStringEnumUnset"
    assert (await hub.refused("nothing/active", r_live=1))["title"] == "bad parameters"
    refused = await hub.refused("status/passive", r_expedite="true")
    assert refused["detail"].startswith("bad parameter for r-expedite: ")
    refused = await hub.refused("binary/active", r_live="1", count="many")
    assert refused["detail"].startswith("bad parameter for count: ")


async def test_times_come_back_in_utc_with_microseconds_while_links_keep_their_offset(hub: Hub) -> None:
    event = named("a", "extracted")
    second = {**NODE, "sha256": "1c", "timestamp": "2026-11-01T10:20:30.5+05:30"}
    event["source"]["path"] = [{**NODE, "sha256": "1"}, second]
    event["timestamp"] = "2026-11-01T10:20:30.123456789+00:00"
    event["source"]["timestamp"] = "2026-11-01T23:20:30.100-02:00"
    await hub.post("binary", [event])
    [got] = (await hub.fetch(**HISTORIC)).events
    assert got["timestamp"] == "2026-11-01T10:20:30.123456Z"
    assert got["source"]["timestamp"] == "2026-11-02T01:20:30.1Z"
    assert got["source"]["path"][1]["timestamp"] == "2026-11-01T04:50:30.5Z"
    assert got["track_links"] == ["1.1c.2026_11_01T10_20_30+05_00.user.bob."]


async def test_what_is_stored_is_what_is_fetched_whatever_is_in_it(site: Site, hub: Hub) -> None:
    event = named("a", source="testing")
    event["source"] = {**SOURCE, "references": {"name": "a"}, "security": "", "settings": {"k": "v"}}
    event["entity"]["info"] = {"a": 1.50, "b": [None, "<&>", "é\u2028"], "c": {}}
    await hub.post("binary", [event])
    [record] = await site.sourced()
    [got] = (await hub.fetch(**HISTORIC)).events
    assert got == json.loads(record.value or b"")
    assert got["flags"] == {}
    assert got["entity"]["info"] == event["entity"]["info"]
