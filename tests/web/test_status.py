"""Health, readiness and metrics: what is down or stands still is named."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.hub.changelogs import app_id
from pipeline.log.port import TopicPartition
from tests.web.site import PAGE, PREFIX, SOURCED, Site, opened, task

START = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
PLACE = TopicPartition(SOURCED, 0)


async def test_everything_that_runs_is_told(site: Site) -> None:
    await site.make_tables()
    await site.put_tasks([task(1), task(2, state="held")])
    await site.submit(b"one")
    await site.submit(b"two")
    await site.parts.log.commit(app_id(PREFIX, "index"), {PLACE: 1})
    status = await site.json("/api/status")
    assert status["ready"]
    assert {part["part"]: part["ok"] for part in status["parts"]} == dict.fromkeys(
        ("log", "objects", "database", "index"), True
    )
    agents = {agent["agent"]: agent for agent in status["agents"]}
    assert agents["index"]["lag"] == 1
    assert agents["index"]["topics"] == {SOURCED: 1}
    assert agents["enrich"]["lag"] is None
    assert status["tasks"] == {"running": 1, "held": 1}
    assert status["sources"] == ["scan", "testing"]


async def test_an_agent_that_stands_still_with_work_before_it_makes_us_not_ready(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with opened(tmp_path, clock) as site:
        await site.submit(b"one")
        await site.submit(b"two")
        await site.parts.log.commit(app_id(PREFIX, "index"), {PLACE: 1})
        assert (await site.json("/readyz"))["stalled"] == []
        clock.advance(limits.AGENT_STALL_SECONDS - 1)
        await site.json("/readyz")
        clock.advance(1)
        assert (await site.json("/readyz", status=503))["stalled"] == ["index"]
        assert not (await site.json("/api/status"))["ready"]

        await site.submit(b"three")
        await site.parts.log.commit(app_id(PREFIX, "index"), {PLACE: 2})
        assert (await site.json("/readyz"))["stalled"] == []
        await site.parts.log.commit(app_id(PREFIX, "index"), {PLACE: 3})
        clock.advance(2 * limits.AGENT_STALL_SECONDS)
        await site.json("/readyz")
        clock.advance(2 * limits.AGENT_STALL_SECONDS)
        assert (await site.json("/readyz"))["ready"], "an agent without work does not stand still"


async def test_a_part_that_is_down_is_named_and_everything_else_still_answers(
    site: Site, logged: list[Any]
) -> None:
    await site.submit(b"one")
    await site.parts.log.close()
    ready = await site.json("/readyz", status=503)
    down = {part["part"]: part["why"] for part in ready["parts"] if not part["ok"]}
    assert set(down) == {"log"}
    assert down["log"]
    status = await site.json("/api/status")
    assert status["agents"] == []
    assert status["remarks"]
    await site.json("/healthz")
    problem = await site.json("/api/objects", method="POST", status=503, data=b"x")
    assert problem["error"] == "unavailable"
    async with site.client.get(site.url + "/api/topics") as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
    async with site.client.get(site.url + "/", headers=PAGE) as response:
        assert response.status == 200
        assert "not ready" in await response.text()


async def test_a_part_that_hangs_does_not_hang_the_probe(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part of the embedded kind can be made to hang, so one call of it is replaced."""
    monkeypatch.setattr(limits, "PROBE_SECONDS", 0.05)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(site.parts.index, "search", hang)
    ready = await site.json("/readyz", status=503)
    [down] = [part for part in ready["parts"] if not part["ok"]]
    assert (down["part"], down["why"]) == ("index", "no answer within 0.05 s")


async def test_metrics_are_what_prometheus_reads_and_hold_no_made_up_routes(site: Site) -> None:
    await site.submit(b"one")
    for path in ("/made/up/by/a/client", "/api/objects/nothash", "/healthz"):
        async with site.client.get(site.url + path):
            pass
    async with site.client.request("BREW", site.url + "/healthz"):
        pass
    async with site.client.get(site.url + "/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"headrace_web_request_seconds", "headrace_web_received_bytes", "process_open_fds"} <= names
    assert "made/up" not in text
    assert "BREW" not in text
    assert re.search(r'request_seconds_count\{method="GET",route="unknown",status="404"\}', text)
