"""The few calls of AWS the archive makes, answered as AWS answers them.

AWS cannot be reached by tests. What passes between this server and the client is what passes between AWS
and the client; `AWS_ENDPOINT_URL`, which AWS's own tools understand, leads here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

_NAMESPACE = "http://rds.amazonaws.com/doc/2014-10-31/"


class Aws:
    """Secrets, one database instance, and its logs."""

    def __init__(self) -> None:
        self.url = ""
        self.secrets: dict[str, str] = {}
        self.refusal: str | None = None
        self.instance: dict[str, Any] | None = None
        self.logs: dict[str, tuple[int, str]] = {}
        """When each was last written, and its text."""
        self.calls: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What leads a program here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one call."""
        assert "AWS4-HMAC-SHA256" in request.headers["Authorization"], "calls are signed"
        target = request.headers.get("X-Amz-Target")
        if target:
            self.calls.append(target)
            return self._secret(msgspec.json.decode(await request.read()))
        form = dict(await request.post())
        self.calls.append(str(form["Action"]))
        return self._rds(str(form["Action"]), {name: str(value) for name, value in form.items()})

    def _secret(self, asked: dict[str, str]) -> web.Response:
        name = asked["SecretId"]
        if self.refusal or name not in self.secrets:
            code = self.refusal or "ResourceNotFoundException"
            message = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"
            return _json({"__type": code, "message": message}, 400)
        return _json({"Name": name, "SecretString": self.secrets[name]})

    def _rds(self, action: str, form: dict[str, str]) -> web.Response:
        if self.instance is None:
            error = (
                "<Error><Type>Sender</Type><Code>DBInstanceNotFound</Code><Message>gone</Message></Error>"
            )
            text = f'<ErrorResponse xmlns="{_NAMESPACE}">{error}</ErrorResponse>'
            return web.Response(status=404, text=text, content_type="text/xml")
        assert form["DBInstanceIdentifier"] == self.instance["name"]
        body = {
            "DescribeDBInstances": self._described,
            "DescribeDBLogFiles": self._log_files,
            "DownloadDBLogFilePortion": self._portion,
        }[action](form)
        text = (
            f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{body}</{action}Result>'
            f"</{action}Response>"
        )
        return web.Response(text=text, content_type="text/xml")

    def _described(self, form: dict[str, str]) -> str:
        del form
        assert self.instance is not None
        there = self.instance
        return (
            f"<DBInstances><DBInstance><DBName>{there['database']}</DBName>"
            f"<MasterUsername>{there['username']}</MasterUsername>"
            f"<Endpoint><Address>{there['host']}</Address><Port>{there['port']}</Port></Endpoint>"
            "</DBInstance></DBInstances>"
        )

    def _log_files(self, form: dict[str, str]) -> str:
        del form
        files = "".join(
            f"<DescribeDBLogFilesDetails><LogFileName>{name}</LogFileName><LastWritten>{written}</LastWritten>"
            f"<Size>{len(text)}</Size></DescribeDBLogFilesDetails>"
            for name, (written, text) in self.logs.items()
        )
        return f"<DescribeDBLogFiles>{files}</DescribeDBLogFiles>"

    def _portion(self, form: dict[str, str]) -> str:
        text = self.logs[form["LogFileName"]][1]
        return (
            f"<LogFileData>{escape(text)}</LogFileData><AdditionalDataPending>false</AdditionalDataPending>"
        )


def _json(body: dict[str, str], status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/x-amz-json-1.1"
    )


@contextmanager
def running() -> Iterator[Aws]:
    """Run the server on an event loop of its own, so that processes and commands here may ask it."""
    aws = Aws()
    application = web.Application()
    application.router.add_post("/", aws.answer)
    server = TestServer(application)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start_server(), loop).result()
    aws.url = str(server.make_url("")).rstrip("/")
    try:
        yield aws
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
