"""What counts as received: nothing a client's machine has not taken (dispatcher contract, section 11.4)."""

from __future__ import annotations

import asyncio
import socket
import struct
from urllib.parse import urlsplit

import aiohttp

from tests.events.samples import BINARY, changed
from tests.web.fetching import fetch, post
from tests.web.site import Site

EVENTS = 300
NOTHING_TAKEN = struct.pack("ii", 1, 0)
"""A linger of no seconds: closing resets the connection."""


async def test_an_answer_written_to_a_client_that_breaks_off_goes_out_again(site: Site) -> None:
    events = [changed(BINARY, "source.path.0.sha256", f"{number}") for number in range(EVENTS)]
    await post(site.client, site.url, "binary", events)
    await ask_and_break_off(site.url, f"name=plug&version=1.2&r-historic=true&count={EVENTS}")
    # The server may notice a moment later: the next request waits for what comes back.
    for events_left, deadline in ((EVENTS, 20), (0, 0)):
        answer = await fetch(site.client, site.url, r_historic="true", count=EVENTS, deadline=deadline)
        assert len(answer.events) == events_left


async def ask_and_break_off(url: str, query: str) -> None:
    """Fetch with little room for the answer, and leave when its first bytes are here."""
    place = urlsplit(url)
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOTHING_TAKEN)
        client.setblocking(False)
        await loop.sock_connect(client, (place.hostname, place.port))
        request = f"GET /api/v2/event/binary/passive?{query} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
        await loop.sock_sendall(client, request.encode())
        assert (await loop.sock_recv(client, 1)) == b"H"


async def test_a_client_that_closes_as_soon_as_it_has_everything_has_received_it(site: Site) -> None:
    events = [changed(BINARY, "source.path.0.sha256", f"{number}") for number in range(EVENTS)]
    await post(site.client, site.url, "binary", events)
    received: list[str] = []
    while len(received) < EVENTS:
        async with aiohttp.ClientSession() as client:
            for _ in range(10):  # a machine acknowledges the later answers of a connection less quickly
                answer = await fetch(client, site.url, r_historic="true", count=1)
                received += [event["kafka_key"] for event in answer.events]
    assert len(received) == len(set(received)) == EVENTS
