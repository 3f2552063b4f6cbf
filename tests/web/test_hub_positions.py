"""Where consumers stand: shared by a key, apart from other keys, kept (dispatcher contract, section 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.clock import ManualClock
from pipeline.log.port import NewRecord, TopicPartition, TopicSpec
from tests.web.fetching import Hub
from tests.web.site import PREFIX, SOURCED, Site, opened
from tests.web.start import STARTED

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
BOTH = {**LIVE, **HISTORIC}


def group(lane: str, flow: str, name: str = "plug-1.2", topics: str = "allsrc-alltype") -> str:
    return f"{PREFIX}-azul-{name}-binary-{topics}-{flow}-{lane}"


async def position(site: Site, name: str, topic: str = SOURCED) -> int | None:
    place = TopicPartition(topic, 0)
    return (await site.parts.log.committed(name, [place])).get(place)


async def reaches(site: Site, name: str, offset: int) -> None:
    """Return when a group's position is committed; it is a moment after the answer."""
    async with asyncio.timeout(30):
        while await position(site, name) != offset:  # noqa: ASYNC110 - it is on disk
            await asyncio.sleep(0.01)


async def test_a_consumer_of_live_and_historic_sees_every_new_event_twice(hub: Hub) -> None:
    await hub.publish("old")
    assert (await hub.fetch(**BOTH, count=9)).names == ["old"]
    await hub.publish("new")
    assert (await hub.gather(2, **BOTH)).names == ["new", "new"]
    assert (await hub.fetch(**BOTH, count=9)).names == []


async def test_positions_are_committed_for_the_groups_of_the_contract(site: Site, hub: Hub) -> None:
    await hub.publish("a", "b", "c")
    await hub.fetch(**BOTH, r_expedite=1, count=2)
    await reaches(site, group("historic", "ELH"), 2)
    assert await position(site, group("live", "ELH")) == 3, "new consumers begin at the end of live topics"
    assert await position(site, group("expedite", "ELH"), f"azul.{PREFIX}.system.expedite") == 0
    await hub.fetch(**HISTORIC, r_source=["testing", "scan"], r_action=["mapped", "sourced"])
    await reaches(site, group("historic", "H", topics="testing.scan-mapped.sourced"), 1)


async def test_all_requests_of_a_key_share_one_position_whatever_else_they_ask_for(hub: Hub) -> None:
    await hub.publish("a", size=10)
    await hub.publish("b", size=20)
    await hub.publish("c", size=30)
    first = await hub.fetch(**HISTORIC, r_over_content_size=15)
    assert (first.names, first.info["filtered"]) == (["b"], 1)
    assert (await hub.fetch(**HISTORIC, count=9)).names == ["c"], "the first one is passed"


async def test_a_task_and_a_passive_fetch_of_one_key_share_one_position(hub: Hub) -> None:
    await hub.publish("a", "b", "c")
    assert (await hub.fetch(**HISTORIC)).names == ["a"]
    assert (await hub.fetch(kind="active", **HISTORIC)).names == ["b"]
    assert (await hub.fetch(**HISTORIC)).names == ["c"]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"version": "1.3"},
        {"r_source": "testing"},
        {"r_action": "sourced"},
        {"r_content": "1"},
        {"r_live": "1"},
        {"debug": "1"},
    ],
)
async def test_consumers_with_different_keys_take_nothing_from_each_other(
    hub: Hub, other: dict[str, Any]
) -> None:
    await hub.publish("a", "b")
    assert (await hub.fetch(**HISTORIC)).names == ["a"]
    assert (await hub.fetch(**{**HISTORIC, **other}, count=9)).names == ["a", "b"]
    assert (await hub.fetch(**HISTORIC, count=9)).names == ["b"]


@pytest.mark.parametrize("kind", ["active", "passive"])
async def test_each_event_goes_to_exactly_one_of_the_requests_of_a_key(hub: Hub, kind: str) -> None:
    total = 300
    got: list[str] = []

    async def work(number: int) -> None:
        while len(got) < total:
            answer = await hub.fetch(kind=kind, **HISTORIC, count=number % 7 + 1, deadline=1)
            got.extend(answer.names)

    async def feed() -> None:
        for first in range(0, total, 50):
            await hub.publish(*range(first, first + 50))

    async with asyncio.timeout(60):
        await asyncio.gather(feed(), *(work(number) for number in range(8)))
    assert sorted(got, key=int) == [str(number) for number in range(total)]


async def test_requests_of_many_keys_at_once_each_get_everything_in_order(hub: Hub) -> None:
    await asyncio.gather(*(hub.fetch(name=f"p{number}", **LIVE) for number in range(20)))
    waiting = [asyncio.create_task(hub.gather(60, name=f"p{number}", **LIVE)) for number in range(20)]
    for first in range(0, 60, 20):
        await hub.publish(*range(first, first + 20))
    for answer in await asyncio.gather(*waiting):
        assert answer.names == [str(number) for number in range(60)]


async def test_reset_begins_anew_and_only_for_that_request(site: Site, hub: Hub) -> None:
    await hub.publish("a", "b")
    await hub.fetch(**BOTH, count=9)
    assert (await hub.fetch(**BOTH)).names == []
    assert (await hub.fetch(**BOTH, reset=1)).names == ["a"]
    await reaches(site, group("historic", "LH"), 1)
    assert (await hub.fetch(**BOTH)).names == ["b"]
    assert (await hub.fetch(**LIVE, reset=1)).names == [], "live topics begin at their end"


async def test_reset_works_for_a_consumer_this_process_has_not_seen(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await hub.publish("a", "b")
        assert (await hub.fetch(**HISTORIC, count=9)).names == ["a", "b"]
    async with opened(tmp_path) as site:
        assert (await Hub(site.client, site.url).fetch(**HISTORIC, reset=1)).names == ["a"]


async def test_a_restart_goes_on_where_it_answered(tmp_path: Path) -> None:
    got = []
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await hub.publish(*range(10))
        await hub.fetch(**LIVE)
        got += (await hub.fetch(**HISTORIC, count=3)).names
    for _ in range(2):
        async with opened(tmp_path) as site:
            got += (await Hub(site.client, site.url).fetch(**HISTORIC, count=3)).names
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await hub.publish("while away")
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        assert (await hub.fetch(**LIVE, count=9)).names == ["while away"]
        got += (await hub.fetch(**HISTORIC, count=9)).names
    assert got == [*(str(number) for number in range(10)), "while away"]


async def test_a_stop_answers_what_waits_with_what_it_has(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client:
        async with opened(tmp_path, hub={"min_wait_seconds": 60}) as site:
            hub = Hub(client, site.url)
            await hub.fetch(**LIVE)
            await hub.fetch(name="empty", **LIVE)
            waiting = asyncio.create_task(hub.fetch(**LIVE, count=2, deadline=60))
            empty = asyncio.create_task(hub.fetch(name="empty", **LIVE, r_action="mapped", deadline=60))
            await hub.publish("a")
            assert (await hub.fetch(name="other", **HISTORIC, count=1)).names == ["a"]
        async with asyncio.timeout(20):
            assert (await waiting).names == ["a"]
            assert (await empty).events == []
        async with opened(tmp_path) as site:
            assert (await Hub(client, site.url).fetch(**LIVE)).names == []


async def test_a_request_that_is_late_for_a_stop_opens_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read a log that is closed, and positions another process has by now."""
    asked, stopping = asyncio.Event(), asyncio.Event()
    async with aiohttp.ClientSession() as client:
        async with opened(tmp_path) as site:
            committed = site.parts.log.committed

            async def slow(name: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
                asked.set()
                await stopping.wait()
                return await committed(name, places)

            monkeypatch.setattr(site.parts.log, "committed", slow)
            late = asyncio.create_task(Hub(client, site.url).fetch(**LIVE, deadline=60))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.2, stopping.set)
        async with asyncio.timeout(20):
            answer = await late
    assert (answer.events, answer.info["ready"], answer.info["consumers_not_ready"]) == ([], False, "live")
    assert "hub follows the log" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_several_partitions_are_one_subscription(tmp_path: Path) -> None:
    async with opened(tmp_path, events={"partitions": 4}) as site:
        hub = Hub(site.client, site.url)
        await hub.publish(*range(100))
        used = await site.parts.log.bounds([TopicPartition(SOURCED, number) for number in range(4)])
        assert all(there.end > 0 for there in used.values())
        first = await hub.fetch(**HISTORIC, count=30)
        second = await hub.gather(70, **HISTORIC)
        assert sorted(first.names + second.names, key=int) == [str(number) for number in range(100)]
        answer = await hub.gather(20, **HISTORIC, name="q", count=5)
        assert len(set(answer.names)) == 20


async def test_a_source_that_comes_later_is_read_from_its_start(tmp_path: Path) -> None:
    clock = ManualClock(STARTED)
    async with opened(tmp_path, clock=clock) as site:
        hub = Hub(site.client, site.url)
        assert (await hub.fetch(**LIVE)).info["ready"] is True
        topic = f"azul.{PREFIX}.later.binary.sourced"
        await site.parts.log.create_topics([TopicSpec(topic, 2)])
        await hub.publish("a")
        [record] = await site.sourced()
        await site.parts.log.append([NewRecord(topic, b"k", record.value, partition=1)])
        clock.advance(11)
        assert (await hub.gather(2, **LIVE)).names == ["a", "a"]


async def test_a_source_that_came_while_nobody_served_is_read_from_its_start(tmp_path: Path) -> None:
    topic = f"azul.{PREFIX}.later.binary.sourced"
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await hub.publish("a")
        await hub.fetch(**LIVE)
        [record] = await site.sourced()
    async with opened(tmp_path) as site:
        await site.parts.log.create_topics([TopicSpec(topic)])
        await site.parts.log.append([NewRecord(topic, b"k", record.value)])
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        assert (await hub.fetch(**LIVE, count=9)).names == ["a"]
        assert (await hub.fetch(**LIVE, name="new", count=9)).names == [], "it begins at the end"


async def test_a_subscription_without_topics_is_told_and_read_once_there_are_some(tmp_path: Path) -> None:
    clock = ManualClock(STARTED)
    async with opened(tmp_path, clock=clock) as site:
        hub = Hub(site.client, site.url)
        query = {**BOTH, "r_expedite": 1, "r_source": "later"}
        answer = await hub.fetch(**query)
        assert answer.info["ready"] is False
        assert answer.info["consumers_not_ready"] == "live,historic"
        topic = f"azul.{PREFIX}.later.binary.sourced"
        await site.parts.log.create_topics([TopicSpec(topic)])
        await hub.publish("a", "b")
        records = await site.sourced()
        await site.parts.log.append([NewRecord(topic, b"k", record.value) for record in records])
        clock.advance(11)
        # They say they are from another source; the name of the topic does not decide.
        assert (await hub.fetch(**query, count=9, deadline=1)).info["filtered"] == 4
        assert (await hub.fetch(**query)).info["ready"] is True
