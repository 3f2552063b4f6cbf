"""A hub that stops answers who waits for events (dispatcher contract, section 25)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.events.samples import PLUGIN
from tests.web.fetching import fetch, post
from tests.web.site import opened

LONG_SECONDS = 60
"""Longer than a server that stops waits for requests to end."""


async def test_who_waits_for_events_is_answered_when_the_hub_stops(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client:
        async with opened(tmp_path) as site:
            await fetch(client, site.url, r_live="true")
            waiting = asyncio.create_task(fetch(client, site.url, r_live="true", deadline=LONG_SECONDS))
            await post(client, site.url, "plugin", [PLUGIN])  # the hub has seen what was asked before
        answer = await waiting
        assert answer.events == []
