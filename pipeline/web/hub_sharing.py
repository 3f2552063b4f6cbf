"""Fetches wherever they arrive: each consumer is served by one process, and the others pass requests on.

Which process serves which share of the consumers is divided by the log (`pipeline.log.shares`); who serves
says so in a notice. A request is passed on over a WebSocket of its own: the request goes over, the answer
comes back, and when it has reached the client a last word says so. Without that word the events go out
again, so the loss of either process loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil

import aiohttp
import msgspec
import structlog
from aiohttp import web

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import HeadraceError, Unavailable
from pipeline.hub.fetch.handout import Fetched, HandOut
from pipeline.hub.notices import Notices
from pipeline.hub.wanted import Wanted, decode_wanted
from pipeline.log.shares import Shares
from pipeline.web.delivery import has_left

_log = structlog.get_logger(__name__)
PATH = "/api/hub/fetch"
RECEIVED = "received"


class FetchInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said beside the events of a fetch (dispatcher contract, section 10)."""

    filtered: int
    fetched: int
    ready: bool
    paused: bool
    consumers_not_ready: str = ""
    filters: dict[str, int] = {}


@dataclass(frozen=True)
class Answer:
    """What a fetch is answered: JSON of the information, and of the events without the brackets."""

    info: FetchInfo
    events: bytes


def answer_of(fetched: Fetched) -> Answer:
    """Say what came of a fetch."""
    info = FetchInfo(
        filtered=fetched.removed.total(),
        fetched=len(fetched.events),
        ready=fetched.ready,
        paused=fetched.paused,
        consumers_not_ready=",".join(fetched.not_ready),
        filters=dict(fetched.removed),
    )
    return Answer(info, b",".join(fetched.events))


class Sharing:
    """Serves a share of the consumers, and knows who serves the others.

    Args:
        handout: Serves.
        notices: Where processes say what they serve.
        shares: Divides the consumers.
        clock: Spaces the looks for consumers nobody serves any more.
    """

    def __init__(self, handout: HandOut, notices: Notices, shares: Shares, clock: Clock) -> None:
        self._clock = clock
        self._handout = handout
        self._notices = notices
        self._shares = shares
        self._url = ""
        self._closing = False
        self._client: aiohttp.ClientSession | None = None
        self._tidying: asyncio.Task[None] | None = None

    def start(self, url: str) -> None:
        """Take part: others reach this process at `url`."""
        self._url = url
        self._shares.start(self)
        self._tidying = asyncio.create_task(self._tidy(), name="hub tidies up")

    async def close(self) -> None:
        """Answer the requests that wait and hand the share over; safe to repeat."""
        tidying, self._tidying = self._tidying, None
        if tidying is not None:
            tidying.cancel()
            await asyncio.wait([tidying])
        self._closing = True
        await self._shares.close()
        await self._handout.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(limits.HUB_TIDY_SECONDS)
            try:
                await self._handout.tidy()
            except Unavailable as error:
                _log.warning("unused consumers are not let go", reason=str(error))

    async def gain(self, shares: AbstractSet[int]) -> None:
        """Begin to serve shares: tell the others."""
        for share in sorted(shares):
            try:
                await self._notices.serve(share, self._url)
            except Unavailable as error:
                _log.warning("others do not know who serves a share", share=share, reason=str(error))

    async def lose(self) -> None:
        """Serve nobody any more."""
        await self._handout.let_go()

    def server_of(self, consumer_key: str) -> str | None:
        """Return the address of the process that serves a consumer, None while none has said so."""
        share = self._notices.share_of(consumer_key)
        return (self._url or None) if share in self._shares.mine else self._notices.server(share)

    @asynccontextmanager
    async def fetch(self, wanted: Wanted, gone: Callable[[], bool]) -> AsyncIterator[Answer]:
        """Give the answer to a fetch, from whoever serves its consumer; see `HandOut.fetch`.

        Raises:
            TooLarge: There are too many consumers.
            Unavailable: The log does not answer.
        """
        await self._notices.ready()
        share = self._notices.share_of(wanted.consumer.key)
        time = asyncio.get_running_loop().time
        deadline = time() + max(wanted.deadline, limits.HUB_PASS_SECONDS)
        while not self._closing:
            left = _within(wanted, deadline - time())
            server = self._notices.server(share)
            if share in self._shares.mine:
                async with self._handout.fetch(left, gone) as fetched:
                    if fetched.events or not fetched.moved:
                        yield answer_of(fetched)
                        return
            elif server is not None and server != self._url:
                async with self._passed_on(server, left, gone) as answer:
                    if answer is not None:
                        yield answer
                        return
            if time() >= deadline or gone():
                break
            await asyncio.sleep(limits.HUB_MOVING_SECONDS)
        names = ",".join(wanted.consumer.subscriptions)
        yield Answer(FetchInfo(0, 0, ready=False, paused=False, consumers_not_ready=names), b"")

    @asynccontextmanager
    async def _passed_on(
        self, server: str, wanted: Wanted, gone: Callable[[], bool]
    ) -> AsyncIterator[Answer | None]:
        """Give the answer of another process, None when it has none; tell it when the block ends well."""
        connection = None
        try:
            connection = await self._connect(server, wanted)
            async with asyncio.timeout(wanted.deadline + limits.HUB_LATE_SECONDS):
                answer = await _answer_from(connection, gone)
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError
            _log.debug("a share cannot be reached", server=server, reason=str(error))
            answer = None
        try:
            yield answer
            if answer is not None and connection is not None:
                await connection.send_str(RECEIVED)
        finally:
            if connection is not None:
                await connection.close()

    async def _connect(self, server: str, wanted: Wanted) -> aiohttp.ClientWebSocketResponse:
        if self._client is None:
            self._client = aiohttp.ClientSession()
        async with asyncio.timeout(limits.HUB_CONNECT_SECONDS):
            connection = await self._client.ws_connect(
                server + PATH, max_msg_size=limits.HUB_PASSED_MAX_BYTES, compress=0
            )
            await connection.send_bytes(wanted.encode())
        return connection

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Answer a fetch that another process passes on; what it does not confirm goes out again."""
        connection = web.WebSocketResponse(max_msg_size=limits.HUB_PASSED_MAX_BYTES, compress=False)
        await connection.prepare(request)
        try:
            async with asyncio.timeout(limits.HUB_CONNECT_SECONDS):
                wanted = _bounded(decode_wanted(await connection.receive_bytes()))
            await self._notices.ready()
            if self._notices.share_of(wanted.consumer.key) in self._shares.mine:
                async with self._handout.fetch(wanted, lambda: has_left(request)) as fetched:
                    if fetched.events or not fetched.moved:
                        await _answer_over(connection, answer_of(fetched))
        except (HeadraceError, TypeError, OSError) as error:  # TypeError: another kind of message
            _log.debug("a request that was passed on has no answer", reason=str(error))
        await connection.close()
        return connection


def _within(wanted: Wanted, seconds: float) -> Wanted:
    """Return a request that waits no longer than this; one that waits at all waits for a second."""
    return msgspec.structs.replace(wanted, deadline=min(wanted.deadline, max(1, ceil(seconds))))


def _bounded(wanted: Wanted) -> Wanted:
    """Return a request within the limits of all requests: who passes it on may be anybody."""
    return msgspec.structs.replace(
        wanted,
        count=min(max(wanted.count, 1), limits.EVENTS_PER_REQUEST),
        deadline=min(max(wanted.deadline, 0), limits.HUB_WAIT_MAX_SECONDS),
    )


async def _answer_from(
    connection: aiohttp.ClientWebSocketResponse, gone: Callable[[], bool]
) -> Answer | None:
    """Return what comes back, None when the other side closes without an answer.

    Raises:
        ConnectionResetError: The client for whom it was asked has left.
    """
    receiving = asyncio.ensure_future(_two_messages(connection))
    try:
        while not receiving.done():
            if gone():
                raise ConnectionResetError("the client has left")
            await asyncio.wait([receiving], timeout=limits.HUB_PASS_SECONDS)
        return receiving.result()
    finally:
        receiving.cancel()


async def _two_messages(connection: aiohttp.ClientWebSocketResponse) -> Answer | None:
    info = await connection.receive()
    if info.type is not aiohttp.WSMsgType.TEXT:
        return None
    events = await connection.receive()
    if events.type is not aiohttp.WSMsgType.BINARY:
        return None
    return Answer(msgspec.json.decode(info.data, type=FetchInfo), events.data)


async def _answer_over(connection: web.WebSocketResponse, answer: Answer) -> None:
    """Send an answer and wait until it has reached the client.

    Raises:
        ConnectionResetError: It has not.
    """
    await connection.send_str(msgspec.json.encode(answer.info).decode())
    await connection.send_bytes(answer.events)
    async with asyncio.timeout(limits.HUB_RECEIPT_SECONDS):
        word = await connection.receive()
    if word.type is not aiohttp.WSMsgType.TEXT or word.data != RECEIVED:
        raise ConnectionResetError("the answer has not reached its client")
