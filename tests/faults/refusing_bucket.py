"""A door before a real S3 server that refuses writes while told to, as a bucket with other rights does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from tests.conftest import S3Server

_REFUSAL = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
)
_NOT_PASSED_ON = {"transfer-encoding", "connection", "content-length"}


class RefusingBucket:
    """Passes requests on, byte for byte, but for writes while `refuses` is set."""

    def __init__(self, server: S3Server, client: aiohttp.ClientSession) -> None:
        self._server = server
        self._client = client
        self.refuses = False
        self.refused = 0
        self.port = 0

    @property
    def server(self) -> S3Server:
        """The same server, reached through here."""
        return self._server._replace(endpoint=f"http://127.0.0.1:{self.port}")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if self.refuses and request.method in {"PUT", "POST"}:
            self.refused += 1
            await request.read()
            return web.Response(status=403, text=_REFUSAL, content_type="application/xml")
        target = urlsplit(self._server.endpoint)
        url = URL(f"{target.scheme}://{target.netloc}{request.raw_path}", encoded=True)
        body = await request.read()
        async with self._client.request(
            request.method, url, headers=request.headers, data=body, allow_redirects=False
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _NOT_PASSED_ON}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                kept["Content-Length"] = answer.headers["Content-Length"]
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


@asynccontextmanager
async def refusing_bucket(server: S3Server) -> AsyncIterator[RefusingBucket]:
    """Open the door on a free port while the block runs."""
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        door = RefusingBucket(server, client)
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", door.handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        door.port = runner.addresses[0][1]
        try:
            yield door
        finally:
            await runner.cleanup()
