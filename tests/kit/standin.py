"""Hands out events as section 10 of the contract shows, in front of a real installation.

Everything but the fetch is passed on to the installation behind it. To be replaced by the installation
itself when it hands out.
"""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict, MultiMapping

from pipeline.events.binary import BinaryEvent

BOUNDARY = "0123456789abcdef" * 3 + "0123456789ab"
_PART = (
    '--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.json"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
)
_OWN_HEADERS = frozenset(("host", "content-length", "transfer-encoding", "connection", "content-encoding"))


class StandIn:
    """What is waiting to be handed out, and what was asked.

    Attributes:
        fault: Gives a status to answer a request with instead of doing anything.
    """

    def __init__(self, behind: str, client: aiohttp.ClientSession) -> None:
        self.url = ""
        self.asked: list[MultiMapping[str]] = []
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and range of everything that came."""
        self.fault: Callable[[web.Request], int | None] = lambda _: None
        self.info: dict[str, object] = {}
        """What the info part says differently."""
        self._behind = behind
        self._client = client
        self._waiting: deque[BinaryEvent] = deque()
        self._came = asyncio.Event()

    def hand_out(self, event: BinaryEvent) -> None:
        """Put an event into the queue."""
        self._waiting.append(event)
        self._came.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        self.requests.append((request.method, request.path, request.headers.get("Range", "")))
        status = self.fault(request)
        if status is not None:
            return web.json_response(
                {"status": str(status), "title": "no", "detail": "told so"}, status=status
            )
        if request.path == "/api/v2/event/binary/active":
            return await self._fetch(request)
        return await self._passed_on(request)

    async def _fetch(self, request: web.Request) -> web.Response:
        self.asked.append(request.query)
        if not self._waiting:
            self._came.clear()
            try:
                async with asyncio.timeout(float(request.query["deadline"])):
                    await self._came.wait()
            except TimeoutError:
                pass
        events = [self._waiting.popleft()] if self._waiting else []
        name = f"{request.query['name']}.{request.query['version']}.1795252635"
        events = [replace(event, dequeued=f"{event.kafka_key}.{name}") for event in events]
        info = {"filtered": 0, "fetched": len(events), "ready": True, "paused": False, **self.info}
        body = b""
        for part, value in (("info", info), ("events", {"events": events})):
            body += (
                _PART.format(boundary=BOUNDARY, name=part).encode() + msgspec.json.encode(value) + b"\r\n"
            )
        body += f"--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return web.Response(body=body, headers=headers)

    async def _passed_on(self, request: web.Request) -> web.Response:
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS
        )
        body = await request.read()
        url = self._behind + request.raw_path
        async with self._client.request(
            request.method, url, headers=headers, data=io.BytesIO(body)
        ) as answer:
            kept = [
                (name, value) for name, value in answer.headers.items() if name.lower() not in _OWN_HEADERS
            ]
            return web.Response(status=answer.status, body=await answer.read(), headers=CIMultiDict(kept))


@asynccontextmanager
async def in_front_of(behind: str) -> AsyncIterator[StandIn]:
    """Serve a stand-in on a free port until the block is left."""
    async with aiohttp.ClientSession() as client:
        standin = StandIn(behind, client)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", standin.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            standin.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield standin
        finally:
            await runner.cleanup()
