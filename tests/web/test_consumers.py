"""Consumers and the pause over HTTP: what operators and lag tools see is what consumers have."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.log.port import TopicPartition
from tests.events.samples import BINARY
from tests.web.fetching import fetch, post
from tests.web.site import PREFIX, SOURCED, Site, opened, task

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
KEY = "plug-1.2-binary-allsrc-alltype-LH"


async def publish(site: Site, count: int, first: int = 0) -> None:
    """Publish that many different sourced events."""
    events = []
    for number in range(first, first + count):
        event = msgspec.json.decode(msgspec.json.encode({**BINARY, "action": "sourced"}))
        event["source"]["references"] = {"number": str(number)}
        events.append(event)
    await post(site.client, site.url, "binary", events)


async def lags(site: Site, wanted: dict[str, int]) -> list[Any]:
    """Wait until the lanes of the one consumer have these lags: positions are committed a moment late."""
    async with asyncio.timeout(20):
        while True:
            lanes = (await site.json(f"/api/consumers/{KEY}"))["lanes"]
            if {lane["lane"]: lane["lag"] for lane in lanes} == wanted:
                return list(lanes)


async def test_without_consumers_the_list_is_empty(site: Site) -> None:
    assert await site.json("/api/consumers") == {"consumers": [], "total": 0, "next": None}
    problem = await site.json("/api/consumers/nobody-1-binary", status=404)
    assert "GET /api/consumers" in problem["todo"]


async def test_the_lag_of_each_lane_is_what_its_group_has_not_committed(site: Site) -> None:
    await publish(site, 3)
    await fetch(site.client, site.url, kind="active", r_live="true", r_historic="true", count=2)
    await publish(site, 4, first=3)
    lanes = await lags(site, {"retry": 0, "live": 4, "historic": 5})
    assert (await site.json(f"/api/consumers/{KEY}"))["lag"] == 9
    names = ["retry", "live", "historic"]
    assert [lane["lane"] for lane in lanes] == names, "highest priority first"
    assert [lane["group"] for lane in lanes] == [f"{PREFIX}-azul-{KEY}-{name}" for name in names]
    place = TopicPartition(SOURCED, 0)
    committed = await site.parts.log.committed(lanes[2]["group"], [place])
    assert committed == {place: 2}, "the lag tools of others see the same position"
    await fetch(site.client, site.url, kind="active", r_live="true", r_historic="true", count=100)
    await lags(site, {"retry": 0, "live": 0, "historic": 0})


async def test_a_consumer_is_shown_as_it_asked(site: Site) -> None:
    await fetch(
        site.client,
        site.url,
        kind="active",
        r_expedite="true",
        r_source=["a", "b"],
        r_action="sourced",
        r_under_content_size=9,
        deployment_key="dep",
    )
    await fetch(site.client, site.url, "status", name="index", r_historic="true")
    page = await site.json("/api/consumers")
    index, plug = page["consumers"]
    assert (plug["name"], plug["version"], plug["model"], plug["route"]) == (
        "plug",
        "1.2",
        "binary",
        "active",
    )
    assert (plug["sources"], plug["actions"], plug["flow"]) == (["a", "b"], ["sourced"], ["expedite"])
    assert plug["filter"] == ["content of at most 9 bytes"]
    assert plug["deployment_key"] == "dep"
    assert [lane["lane"] for lane in plug["lanes"]] == ["expedite", "retry"]
    assert (index["route"], index["flow"]) == ("passive", ["historic"])
    assert [lane["lane"] for lane in index["lanes"]] == ["historic"]
    assert plug["server"] == index["server"] == site.url
    assert abs(plug["seen"] - site.parts.clock.unix()) < 60


async def test_one_that_takes_no_tasks_is_never_behind_with_retries(site: Site) -> None:
    await fetch(site.client, site.url, r_live="true")
    [shown] = (await site.json("/api/consumers"))["consumers"]
    assert [lane["lane"] for lane in shown["lanes"]] == ["live"]


async def test_what_is_out_is_counted_for_its_consumer(site: Site) -> None:
    await site.make_tables()
    await fetch(site.client, site.url, kind="active", r_live="true", r_historic="true")
    replace = msgspec.structs.replace
    mine = [
        replace(task(1, plugin="plug"), consumer_key=KEY),
        replace(task(2, plugin="plug", state="waiting"), consumer_key=KEY, attempt=1),
    ]
    await site.put_tasks([*mine, task(3, plugin="other")])
    [shown] = (await site.json("/api/consumers"))["consumers"]
    assert shown["out"] == {"tasks": {"running": 1, "waiting": 1}, "retries": 1, "parked": 0}


async def test_consumers_are_paged_by_key_and_chosen_by_name(site: Site) -> None:
    for version in range(5):
        await fetch(site.client, site.url, version=f"1.{version}", r_live="true")
    await fetch(site.client, site.url, name="other", r_live="true")
    keys, after = [], ""
    while True:
        page = await site.json(f"/api/consumers?limit=2&name=plug&after={after}")
        assert page["total"] == 5
        keys += [one["key"] for one in page["consumers"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert keys == [f"plug-1.{version}-binary-allsrc-alltype-L" for version in range(5)]


@pytest.mark.parametrize("query", ["limit=0", f"limit={limits.CONSUMERS_PAGE_MAX + 1}", "after=x", "y=1"])
async def test_a_list_that_makes_no_sense_is_refused(site: Site, query: str) -> None:
    await site.json(f"/api/consumers?{query}", status=400)


@pytest.mark.parametrize(
    "name", ["a/b", "per%cent", "sp ace", "ünï", "..", "<b>", "?q=1#x", "{b}", "\udcff", ""]
)
async def test_a_consumer_may_be_called_anything(site: Site, name: str) -> None:
    await fetch(site.client, site.url, name=name.encode(errors="replace").decode(), r_live="true")
    [shown] = (await site.json("/api/consumers"))["consumers"]
    assert await site.json(f"/api/consumers/{quote(shown['key'], safe='')}") == shown


async def test_the_longest_key_has_its_page(site: Site) -> None:
    name = "x" * (limits.CONSUMER_KEY_MAX_BYTES - len('"-1.2-binary-allsrc-alltype-L"'))
    await fetch(site.client, site.url, name=name, r_live="true")
    [shown] = (await site.json("/api/consumers"))["consumers"]
    assert (await site.json(f"/api/consumers/{shown['key']}"))["name"] == name


async def test_a_consumer_that_stays_away_for_a_day_leaves_the_list(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with opened(tmp_path, clock) as site:
        await fetch(site.client, site.url, r_live="true")
        clock.advance(limits.HUB_CONSUMER_SECONDS)
        assert (await site.json("/api/consumers"))["total"] == 1
        clock.advance(1)
        assert (await site.json("/api/consumers"))["total"] == 0


async def test_a_pause_holds_tasks_back_until_it_ends(site: Site) -> None:
    await publish(site, 2)
    assert (await site.json("/api/pause"))["state"] == "none"
    paused = await site.json("/api/pause", method="POST")
    assert paused["state"] == "paused"
    assert paused["until"] - paused["since"] == limits.HUB_PAUSED_SECONDS
    assert "No tasks are handed out until" in paused["effect"]
    assert await site.json("/api/pause") == paused
    held = await fetch(site.client, site.url, kind="active", r_historic="true", count=9)
    assert (held.events, held.info["paused"]) == ([], True)
    assert (await fetch(site.client, site.url, name="passive", r_historic="true", count=9)).events
    resumed = await site.json("/api/resume", method="POST")
    assert resumed == await site.json("/api/pause")
    assert (resumed["state"], resumed["since"]) == ("none", None)
    assert len((await fetch(site.client, site.url, kind="active", r_historic="true", count=9)).events) == 2


async def test_a_pause_says_whom_it_holds_back(site: Site) -> None:
    await fetch(site.client, site.url, kind="active", name="tasks", r_live="true")
    await fetch(site.client, site.url, name="events", r_live="true")
    await site.json("/api/pause", method="POST")
    page = await site.json("/api/consumers")
    assert {one["name"]: one["paused"] for one in page["consumers"]} == {"tasks": True, "events": False}


async def test_a_pause_ends_by_itself_and_says_what_is_skipped_afterwards(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with opened(tmp_path, clock) as site:
        paused = await site.json("/api/pause", method="POST")
        clock.advance(30)
        assert await site.json("/api/pause", method="POST") == paused, "once a minute at most"
        clock.advance(limits.HUB_PAUSED_SECONDS - 30)
        after = await site.json("/api/pause")
        assert after["state"] == "skipping"
        assert "begins at the end of everything" in after["effect"]
        clock.advance(limits.HUB_SKIPPING_SECONDS - limits.HUB_PAUSED_SECONDS)
        assert (await site.json("/api/pause"))["state"] == "none"
