"""Between a plugin and a real installation: notes what is asked, and fails where it is told to."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import encode_as_posted

_OWN_HEADERS = frozenset(("host", "content-length", "transfer-encoding", "connection", "content-encoding"))


class Between:
    """Passes requests on to an installation.

    Attributes:
        asked: The query of every fetch.
        fault: Gives a status to answer a request with instead of passing it on.
    """

    def __init__(self, behind: str, client: aiohttp.ClientSession) -> None:
        self.url = ""
        self.asked: list[MultiMapping[str]] = []
        self.fault: Callable[[web.Request], int | None] = lambda _: None
        self._behind = behind
        self._client = client

    async def hand_out(self, event: BinaryEvent, **query: str) -> None:
        """Publish an event, so that it is handed out."""
        url = f"{self._behind}/api/v2/event"
        params = {"model": "binary", **query}
        async with self._client.post(url, params=params, data=encode_as_posted(event)) as answer:
            assert answer.status == 200, await answer.text()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        status = self.fault(request)
        if status is not None:
            return web.json_response(
                {"status": str(status), "title": "no", "detail": "told so"}, status=status
            )
        if request.path.endswith("/active"):
            self.asked.append(request.query)
        return await self._passed_on(request)

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
async def in_front_of(behind: str) -> AsyncIterator[Between]:
    """Serve on a free port until the block is left."""
    async with aiohttp.ClientSession() as client:
        between = Between(behind, client)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", between.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            between.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield between
        finally:
            await runner.cleanup()
