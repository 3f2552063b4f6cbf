"""Answers that did not reach their client go out again, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.clock import ManualClock
from pipeline.events.task import TaskEvent, decode_task
from pipeline.events.topics import TASK, system_topic
from pipeline.web.hub_sharing import PATH, RECEIVED
from tests.web.fetching import Hub, named, wanted
from tests.web.site import PREFIX, Site, opened
from tests.web.start import STARTED
from tests.web.test_hub_positions import group, position, reaches

HISTORIC: dict[str, Any] = {"r_historic": "true"}
LIVE: dict[str, Any] = {"r_live": "true"}


async def told_of_tasks(site: Site) -> list[TaskEvent]:
    """Return what was said of tasks so far."""
    records = await site.records(system_topic(PREFIX, TASK))
    return [decode_task(record.value or b"") for record in records]


async def test_what_was_not_received_goes_out_first_and_in_order(hub: Hub) -> None:
    await hub.publish(*range(9))
    lost = await hub.lose(wanted(require_historic=True, count=4))
    assert lost.names == ["0", "1", "2", "3"]
    assert (await hub.fetch(**HISTORIC, count=2)).names == ["0", "1"]
    assert (await hub.lose(wanted(require_historic=True, count=3))).names == ["2", "3", "4"]
    assert (await hub.fetch(**HISTORIC, count=99)).names == ["2", "3", "4", "5", "6", "7", "8"]
    assert (await hub.fetch(**HISTORIC, count=99)).names == []


async def test_what_was_not_received_is_judged_by_who_asks_next(hub: Hub) -> None:
    await hub.publish("small", size=10)
    await hub.publish("large", size=30)
    assert (await hub.lose(wanted(require_historic=True, count=2))).names == ["small", "large"]
    answer = await hub.fetch(**HISTORIC, count=9, r_under_content_size=20)
    assert answer.names == ["small"]
    assert answer.filters == {"FilterConsumerRules-reject_content_too_large": 1}
    assert (await hub.fetch(**HISTORIC, count=9)).names == []


async def test_a_task_that_was_not_received_goes_out_under_a_new_id_that_names_the_one_before(
    tmp_path: Path,
) -> None:
    clock = ManualClock(STARTED)
    async with opened(tmp_path, clock=clock) as site:
        hub = Hub(site.client, site.url)
        await hub.publish("a")
        request = wanted("active", require_historic=True)
        [first] = (await hub.lose(request)).events
        clock.advance(1)
        [second] = (await hub.lose(request)).events
        clock.advance(1)
        [third] = (await hub.fetch(kind="active", **HISTORIC)).events
        ids = [first.pop("dequeued"), second.pop("dequeued"), third.pop("dequeued")]
        assert first == second == third
        assert len(set(ids)) == 3
        told = await told_of_tasks(site)
        assert [each.dequeued for each in told] == ids
        assert [each.previous for each in told] == [None, *ids[:2]]
        assert len({each.task for each in told}) == 1
        assert [each.attempt for each in told] == [0, 0, 0]


async def test_the_entry_of_a_task_is_durable_before_the_task_is_answered(site: Site, hub: Hub) -> None:
    await hub.publish("a", "b")
    answer = await hub.fetch(kind="active", **HISTORIC, count=2)
    told = await told_of_tasks(site)
    assert [each.dequeued for each in told] == [event["dequeued"] for event in answer.events]
    assert [json.loads(bytes(each.event or b"")) for each in told] == answer.events
    first = told[0]
    assert (first.kind, first.plugin, first.version) == ("dequeued", "plug", "1.2")
    assert first.consumer_key == "plug-1.2-binary-allsrc-alltype-H"
    assert first.task == first.dequeued.rpartition(".")[0]


@pytest.mark.parametrize("kind", ["active", "passive"])
async def test_a_client_that_left_while_it_waited_loses_nothing(hub: Hub, kind: str) -> None:
    await hub.fetch(kind=kind, **LIVE)
    async with aiohttp.ClientSession() as leaving:
        waiting = asyncio.create_task(Hub(leaving, hub.url).fetch(kind=kind, **LIVE, deadline=60))
        for _ in range(3):  # it is there when those that come after it were answered
            await hub.fetch(name="other", **LIVE)
        waiting.cancel()
    await hub.publish("a")
    async with asyncio.timeout(20):
        assert (await hub.fetch(kind=kind, **LIVE, deadline=30)).names == ["a"]
    assert (await hub.fetch(kind=kind, **LIVE)).names == []


async def test_what_was_not_received_is_given_to_a_request_that_waits_already(site: Site, hub: Hub) -> None:
    await hub.publish("a")
    async with site.client.ws_connect(hub.url + PATH) as holding:
        await holding.send_bytes(wanted(require_historic=True).encode())
        await holding.receive_str()
        waiting = asyncio.create_task(hub.fetch(**HISTORIC, deadline=60))
        for _ in range(3):
            await hub.fetch(name="other", **LIVE)
        assert not waiting.done()
    async with asyncio.timeout(20):
        assert (await waiting).names == ["a"]


@pytest.mark.parametrize("kind", ["active", "passive"])
async def test_a_client_that_left_while_its_answer_was_sent_gets_it_again(hub: Hub, kind: str) -> None:
    count = 4  # of 2 MiB each: more than fits into the buffers between the two
    for number in range(count):
        await hub.publish(number, entity={**named(0)["entity"], "info": "x" * 2**21})
    path = f"/api/v2/event/binary/{kind}?name=plug&version=1.2&r-historic=1&count={count}&deadline=9"
    host, _, port = hub.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**14)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), "the answer is on its way"
    writer.transport.abort()
    got = await hub.gather(count, kind=kind, **HISTORIC)
    assert got.names == [str(number) for number in range(count)]
    assert (await hub.fetch(kind=kind, **HISTORIC, count=count)).names == []


async def test_a_receipt_that_comes_while_the_server_stops_is_heard(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client:
        async with opened(tmp_path) as site:
            hub = Hub(client, site.url)
            await hub.publish("a", "b")
            await hub.fetch(name="other", **LIVE)
            connection = await client.ws_connect(hub.url + PATH)
            await connection.send_bytes(wanted(require_historic=True).encode())
            assert b'"a"' in (await connection.receive(), await connection.receive())[1].data

            async def receive() -> None:
                await hub.fetch(name="other", **LIVE, deadline=60)
                await connection.send_str(RECEIVED)  # the stop has begun: it answers what waits

            receipt = asyncio.create_task(receive())
            for _ in range(3):
                await hub.fetch(name="others", **LIVE)
        await receipt
        await connection.close()
        async with opened(tmp_path) as site:
            assert (await Hub(client, site.url).fetch(**HISTORIC, count=9)).names == ["b"]


async def test_a_restart_begins_before_what_was_not_received(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await hub.publish(*range(5))
        assert (await hub.fetch(**HISTORIC, count=1)).names == ["0"]
        await hub.lose(wanted(require_historic=True, count=2))
    async with opened(tmp_path) as site:
        assert (await Hub(site.client, site.url).fetch(**HISTORIC, count=9)).names == ["1", "2", "3", "4"]


@pytest.mark.parametrize("kind", ["active", "passive"])
async def test_reset_forgets_what_was_not_received(site: Site, hub: Hub, kind: str) -> None:
    await hub.publish(*range(5))
    assert len((await hub.fetch(kind=kind, **HISTORIC, count=2)).names) == 2
    await hub.lose(wanted(kind, require_historic=True, count=2))
    again = await hub.fetch(kind=kind, **HISTORIC, count=9, reset=1)
    assert again.names == ["0", "1", "2", "3", "4"]
    await reaches(site, group("historic", "H"), 5)


async def test_a_request_that_ends_after_a_reset_does_no_harm(site: Site, hub: Hub) -> None:
    await hub.publish(*range(5))
    async with site.client.ws_connect(hub.url + PATH) as before:
        await before.send_bytes(wanted(require_historic=True, count=2).encode())
        await before.receive_str()
        assert (await hub.fetch(**HISTORIC, count=3, reset=1)).names == ["0", "1", "2"]
        await before.receive_bytes()
        await before.send_str("received")
        await before.receive()
    assert (await hub.fetch(**HISTORIC, count=9)).names == ["3", "4"]
    await reaches(site, group("historic", "H"), 5)
    assert await position(site, group("historic", "H")) == 5
