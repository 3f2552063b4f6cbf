"""A hub that stops answers who waits for events (dispatcher contract, section 25)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from pipeline.hub.wanted import Wanted
from pipeline.web import presence
from pipeline.web.hub_sharing import PATH, RECEIVED
from tests.events.samples import BINARY, PLUGIN
from tests.processes import until
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


async def test_what_another_process_passed_on_and_received_is_not_repeated_though_the_hub_stops(
    tmp_path: Path,
) -> None:
    async with aiohttp.ClientSession() as client:
        async with opened(tmp_path) as site:
            await post(client, site.url, "binary", [BINARY])
            connection = await client.ws_connect(site.url + PATH)
            wanted = Wanted(name="plug", version="1.2", model="binary", require_historic=True)
            await connection.send_bytes(wanted.encode())
            info, events = await connection.receive_json(), await connection.receive_bytes()
            received = asyncio.create_task(receive_when_stopping(connection, site.folder))
        await received
        assert (info["fetched"], events.count(b"kafka_key")) == (1, 1)
        async with opened(tmp_path) as site:
            assert (await fetch(client, site.url, r_historic="true")).events == []


async def receive_when_stopping(connection: aiohttp.ClientWebSocketResponse, folder: Path) -> None:
    """Say that the answer has been received when the server has begun to stop: its note is gone first."""
    await until(lambda: presence.find(folder) is None)
    await connection.send_str(RECEIVED)
    await connection.close()
