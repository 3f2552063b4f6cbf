"""Pausing plugins for a restore: tasks stop, then go on at the end (dispatcher contract, section 14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import ManualClock
from tests.web.fetching import Hub, named, wanted
from tests.web.site import Site, opened
from tests.web.start import STARTED
from tests.web.test_hub_positions import group, reaches

LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}
MINUTE = 60
PAUSED = {"filtered": 0, "fetched": 0, "ready": False, "paused": True}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(STARTED)


@pytest.fixture
async def site(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Site]:
    async with opened(tmp_path, clock=clock) as made:
        yield made


async def pause(hub: Hub, name: str = "restored") -> None:
    """Restore an event with plugins paused; return when the pause is in force."""
    await hub.post("binary", [named(name)], pause_plugins="true")
    async with asyncio.timeout(20):  # it begins in the background
        while not (await hub.fetch(kind="active", **LIVE, name="probe")).info["paused"]:
            pass


async def test_tasks_of_any_model_are_paused_and_answered_at_once(hub: Hub) -> None:
    await hub.publish("a")
    await pause(hub)
    async with asyncio.timeout(20):
        for query in (LIVE, HISTORIC, {**LIVE, "r_expedite": 1}):
            answer = await hub.fetch(kind="active", **query, deadline=50)
            assert (answer.info, answer.events) == (PAUSED, [])
        for model in ("plugin", "status", "download"):
            assert (await hub.fetch(model, "active", **HISTORIC, deadline=50)).info == PAUSED


async def test_passive_requests_go_on_during_a_pause_and_after_it(hub: Hub, clock: ManualClock) -> None:
    await hub.fetch(**LIVE)
    await hub.publish("before")
    await pause(hub)
    assert (await hub.gather(2, **LIVE)).names == ["before", "restored"]
    assert (await hub.fetch(**HISTORIC, count=9)).names == ["before", "restored"]
    for minutes in (1, 8, 2, 15, 10):
        clock.advance(minutes * MINUTE)
        await hub.publish(minutes)
        assert (await hub.gather(1, **LIVE)).names == [str(minutes)]
        assert (await hub.fetch("plugin", **HISTORIC)).info["paused"] is False


async def test_a_pause_lasts_ten_minutes_and_is_renewed(hub: Hub, clock: ManualClock) -> None:
    await pause(hub)
    clock.advance(10 * MINUTE - 1)
    assert (await hub.fetch(kind="active", **LIVE)).info == PAUSED
    await hub.post("binary", [named("more")], pause_plugins="1")
    clock.advance(9 * MINUTE)
    async with asyncio.timeout(20):
        while not (await hub.fetch(kind="active", **LIVE)).info["paused"]:
            pass
    clock.advance(MINUTE)
    assert (await hub.fetch(kind="active", **LIVE)).info["paused"] is False


async def test_only_true_and_1_pause(hub: Hub) -> None:
    for said in ("false", "0", "TRUE", "yes", ""):
        await hub.post("binary", [named("a")], pause_plugins=said)
    await hub.publish("b")
    assert (await hub.gather(1, kind="active", **HISTORIC)).info["fetched"] == 1


async def test_after_a_pause_tasks_begin_at_the_end_of_everything_once(
    site: Site, hub: Hub, clock: ManualClock
) -> None:
    both = {**LIVE, **HISTORIC, "r_expedite": 1}
    await hub.publish("a", "b")
    assert (await hub.fetch(kind="active", **both)).names == ["a"]
    await pause(hub)
    await hub.publish("expedited", flags={"expedite": True})
    clock.advance(10 * MINUTE)
    answer = await hub.fetch(kind="active", **both, count=9)
    assert (answer.events, answer.info["ready"], answer.info["paused"]) == ([], True, False)
    await reaches(site, group("historic", "ELH"), 3)
    await hub.publish("c")
    assert (await hub.gather(2, kind="active", **both)).names == ["c", "c"], "live and historic"
    clock.advance(10 * MINUTE)
    await hub.publish("d")
    assert (await hub.gather(2, kind="active", **both)).names == ["d", "d"], "only once"
    clock.advance(20 * MINUTE)
    await hub.publish("e")
    assert (await hub.gather(2, kind="active", **both)).names == ["e", "e"]


async def test_a_consumer_that_comes_anew_after_a_pause_has_no_history_and_later_it_has(
    hub: Hub, clock: ManualClock
) -> None:
    await pause(hub)
    clock.advance(30 * MINUTE - 1)
    assert (await hub.fetch(kind="active", **HISTORIC, name="soon")).names == []
    clock.advance(1)
    assert (await hub.fetch(kind="active", **HISTORIC, name="late")).names == ["restored"]
    assert (await hub.fetch(kind="active", **HISTORIC, name="soon")).names == []


async def test_who_did_not_ask_within_half_an_hour_goes_on_where_it_was(
    hub: Hub, clock: ManualClock
) -> None:
    await hub.publish("a")
    assert (await hub.fetch(kind="active", **HISTORIC)).names == ["a"]
    await pause(hub)
    assert (await hub.fetch(kind="active", **HISTORIC)).info == PAUSED
    clock.advance(30 * MINUTE)
    assert (await hub.fetch(kind="active", **HISTORIC)).names == ["restored"]


async def test_every_pause_is_skipped_once(hub: Hub, clock: ManualClock) -> None:
    for number in range(3):
        await pause(hub, f"restored {number}")
        clock.advance(11 * MINUTE)
        assert (await hub.fetch(kind="active", **HISTORIC, count=9)).names == []
        await hub.publish(number)
        assert (await hub.gather(1, kind="active", **HISTORIC)).names == [str(number)]


async def test_what_was_not_received_before_a_pause_does_not_come_after_it(
    site: Site, hub: Hub, clock: ManualClock
) -> None:
    await hub.publish("a")
    assert (await hub.lose(wanted("active", require_historic=True))).names == ["a"]
    await pause(hub)
    clock.advance(10 * MINUTE)
    assert (await hub.fetch(kind="active", **HISTORIC)).names == []
    await reaches(site, group("historic", "H"), 2)


Opener = Callable[[], AbstractAsyncContextManager[Hub]]


@pytest.fixture
def anew(tmp_path: Path, clock: ManualClock) -> Opener:
    """Give what serves the same installation again and again."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[Hub]:
        async with opened(tmp_path / "anew", clock=clock) as site:
            yield Hub(site.client, site.url)

    return serve


async def test_a_restart_neither_ends_a_pause_nor_skips_twice(anew: Opener, clock: ManualClock) -> None:
    async with anew() as hub:
        await pause(hub)
    async with anew() as hub:
        assert (await hub.fetch(kind="active", **HISTORIC)).info == PAUSED
        clock.advance(11 * MINUTE)
        assert (await hub.fetch(kind="active", **HISTORIC)).names == []
        await hub.publish("after")
    async with anew() as hub:
        assert (await hub.fetch(kind="active", **HISTORIC)).names == ["after"]


async def test_a_pause_is_told_though_the_post_that_began_it_fails(site: Site, hub: Hub) -> None:
    query = {"model": "binary", "pause_plugins": "true"}
    async with site.client.post(f"{site.url}/api/v2/event", params=query, data=b"no JSON") as response:
        assert response.status == 422
    async with asyncio.timeout(20):
        while not (await hub.fetch(kind="active", **LIVE)).info["paused"]:
            pass
