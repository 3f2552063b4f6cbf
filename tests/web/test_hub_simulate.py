"""Which consumers would take an event (dispatcher contract, section 15)."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.clock import ManualClock
from tests.agents.installation import records_of
from tests.events.samples import BINARY
from tests.web.fetching import fetch, post
from tests.web.site import PREFIX, Site, opened

PATIENCE_SECONDS = 20
STARTED = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
HUB = f"azul.{PREFIX}.system.hub"
SIMULATE = "/api/v2/event/simulate"


async def simulated(site: Site, event: Any, *, status: int = 200) -> Mapping[str, Any]:
    answer = await site.json(SIMULATE, method="POST", status=status, data=json.dumps(event).encode())
    assert isinstance(answer, dict)
    return answer


def deep(nodes: int) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(json.dumps(BINARY))
    event["source"]["path"] *= nodes
    return event


async def test_every_registered_consumer_is_judged_whatever_route_it_came_by(site: Site) -> None:
    await fetch(site.client, site.url, kind="active", name="takes", r_live="true")
    await fetch(site.client, site.url, name="refuses", r_historic="true", r_under_content_size=1)
    await fetch(site.client, site.url, "status", name="statuses", r_live="true", d_self="true")
    answer = await simulated(site, BINARY)
    assert sorted(answer["consumers"], key=lambda one: one["name"]) == [
        {
            "name": "refuses",
            "version": "1.2",
            "filter_out": True,
            "filter_out_trigger": "FilterConsumerRules-reject_content_too_large",
        },
        {"name": "statuses", "version": "1.2", "filter_out": False, "filter_out_trigger": ""},
        {"name": "takes", "version": "1.2", "filter_out": False, "filter_out_trigger": ""},
    ]


async def test_a_path_of_eleven_nodes_is_not_too_deep_and_twelve_are(site: Site) -> None:
    await fetch(site.client, site.url, kind="active", r_live="true")
    for nodes, trigger in ((11, ""), (12, "FilterTooDeep-too_deep")):
        answer = await simulated(site, deep(nodes))
        assert [one["filter_out_trigger"] for one in answer["consumers"]] == [trigger]


async def test_one_plugin_is_named_once_for_each_of_its_consumer_keys(site: Site) -> None:
    await fetch(site.client, site.url, r_live="true")
    await fetch(site.client, site.url, r_historic="true")
    assert len((await simulated(site, BINARY))["consumers"]) == 2


async def test_what_is_not_one_valid_current_event_is_answered_500_in_the_contracts_shape(
    site: Site,
) -> None:
    for wrong in ({}, [], {**BINARY, "model_version": 5}, {**BINARY, "action": "none"}, [BINARY, BINARY]):
        answer = await simulated(site, wrong, status=500)
        assert answer["title"] == "Failed to simulate event"
        assert set(answer) <= {"status", "title", "detail", "error_enum"}


async def test_who_has_not_asked_for_a_day_is_forgotten_and_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = ManualClock(STARTED)
    async with opened(tmp_path, clock) as site:
        await fetch(site.client, site.url, r_live="true", name="silent")
        await fetch(site.client, site.url, r_historic="true", name="busy")
        await post(site.client, site.url, "binary", [BINARY])
        for _ in range(26):
            clock.advance(3600)
            await fetch(site.client, site.url, r_historic="true", name="busy")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len((await simulated(site, BINARY))["consumers"]) > 1:
                clock.advance(3600)
                await asyncio.sleep(0.02)
        answer = await fetch(site.client, site.url, r_live="true", name="silent")
        assert [event["entity"]["sha256"] for event in answer.events] == [BINARY["entity"]["sha256"]]
        words = [record for record in await records_of(site.parts, HUB) if b"silent" in (record.key or b"")]
        assert words[0].value is not None
        assert any(word.value is None for word in words), "it would be read back at every start"
