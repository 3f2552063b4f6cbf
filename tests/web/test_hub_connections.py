"""Connections that idle, and bodies of publishes that are too large, slow, cut off or no JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import limits
from tests.events.samples import BINARY
from tests.web.fetching import Hub, fetch, named, names_of, post
from tests.web.site import SOURCED, Site, opened

IDLE = 1000
HEAD = b"POST /api/v2/event?model=binary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
BODY = json.dumps([BINARY]).encode()


async def test_a_thousand_idle_connections_keep_nobody_from_publishing_and_fetching(site: Site) -> None:
    host, _, port = site.url.removeprefix("http://").partition(":")
    connections = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(IDLE)))
    try:
        for number, (reader, writer) in enumerate(connections):
            if number % 2:  # half of them have asked for something before they idle
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
        await post(site.client, site.url, "binary", [BINARY])
        answer = await fetch(site.client, site.url, r_historic="true")
        assert [event["entity"]["sha256"] for event in answer.events] == [BINARY["entity"]["sha256"]]
    finally:
        for _, writer in connections:
            writer.close()


async def test_an_answer_that_nobody_takes_goes_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_IDLE_SECONDS", 0.2)
    entity = {**named(0)["entity"], "info": {"text": "x" * 900_000}}
    events = [named(number, entity=entity) for number in range(20)]
    async with opened(tmp_path) as site:
        await post(site.client, site.url, "binary", events)
        with taking_nothing(site) as connection:
            connection.sendall(
                b"GET /api/v2/event/binary/passive?name=plug&version=1.2&count=20&r-historic=true"
                b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            await asyncio.to_thread(connection.recv, 1)  # the answer has begun
            answer = await Hub(site.client, site.url).gather(len(events), r_historic="true")
            assert answer.names == names_of(events)


@contextlib.contextmanager
def taking_nothing(site: Site) -> Iterator[socket.socket]:
    """Give a connection to a site with next to no room for what comes."""
    host, _, port = site.url.removeprefix("http://").partition(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        yield connection


async def test_a_body_in_small_pieces_is_taken_whole(site: Site) -> None:
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7)
    )
    answered = await site.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
    assert b" 200 " in answered.splitlines()[0]
    assert len(await site.records(SOURCED)) == 1


async def test_a_body_that_breaks_off_publishes_nothing(site: Site) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 1)
    await site.raw(head + BODY, end=True)
    assert not await site.records(SOURCED)
    await site.json("/healthz")


async def test_a_body_that_falls_silent_is_given_up_in_the_contracts_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_IDLE_SECONDS", 0.05)
    monkeypatch.setattr(limits, "WEB_LINGER_SECONDS", 0.05)
    async with opened(tmp_path) as site:
        answered = await site.raw(HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 1) + BODY)
        head, _, body = answered.partition(b"\r\n\r\n")
        assert b" 408 " in head.splitlines()[0]
        assert set(json.loads(body)) == {"status", "title", "detail", "error_enum"}
        assert not await site.records(SOURCED)


async def test_a_body_above_the_limit_is_refused_before_it_is_read(site: Site) -> None:
    answered = await site.raw(HEAD + b"Content-Length: %d\r\n\r\n" % (limits.PUBLISH_MAX_BYTES + 1))
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b" 413 " in head.splitlines()[0]
    assert set(json.loads(body)) == {"status", "title", "detail", "error_enum"}


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"[" * 100_000, b'{"a":', b"null", b"1", b'"', b"[1,2]", b"\x00"]
)
async def test_what_is_no_event_is_refused_whole(site: Site, body: bytes) -> None:
    answered = await site.raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b" 422 " in answered.splitlines()[0]
