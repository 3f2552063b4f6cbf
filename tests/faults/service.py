"""`headrace up` as a process of its own, and a client of it."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.web import presence
from tests.processes import PATIENCE_SECONDS, Process, environment, run, until


class Service:
    """A running `headrace up` on a data folder.

    Args:
        process: The process.
        data: Its data folder.
        client: For requests to it.
        url: Where it listens.
    """

    def __init__(self, process: Process, data: Path, client: aiohttp.ClientSession, url: str) -> None:
        self.process = process
        self.data = data
        self.client = client
        self.url = url

    async def json(self, path: str, *, method: str = "GET", status: int = 200, **how: Any) -> Any:
        """Request a path, check the status, and return the JSON of the answer."""
        async with self.client.request(method, self.url + path, **how) as response:
            text = await response.text()
            assert response.status == status, text
            return json.loads(text)

    async def submit(self, data: Any, **query: str) -> Any:
        """Submit bytes and return the answer."""
        return await self.json("/api/objects", method="POST", status=201, data=data, params=query)

    async def actions(self, sha256: str) -> list[str]:
        """Return the actions of the documents that are found for a hash, in order."""
        page = await self.json("/api/search", params={"q": f"sha256:{sha256}"})
        return sorted(hit["body"]["action"] for hit in page["hits"])

    async def enriched(self, sha256: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Return when search finds what was found out about a hash."""

        async def found() -> bool:
            return "enriched" in await self.actions(sha256)

        await until(found, patience_seconds)

    async def parked(self) -> list[Any]:
        """Return the parked entries."""
        page = await self.json("/api/parked", params={"limit": "1000"})
        return list(page["entries"])

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run a command that finds this service by its data folder; return what it prints."""
        result = run([*arguments, "--data", str(self.data)], environment=environment(self.data.parent))
        assert result.returncode == code, result.stderr
        return result.stdout


@asynccontextmanager
async def service(
    folder: Path,
    *,
    options: Sequence[str] = (),
    before: Sequence[str] = (),
    ready: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Service]:
    """Run `headrace up` with its data in ``folder/data`` until the block is left; it is killed then.

    Args:
        folder: Logs go here.
        options: Global options of the command, such as ``-s NAME=VALUE``.
        before: Words put before the command.
        ready: What must hold besides its listening.
    """
    data = folder / "data"
    process = Process(
        ["-s", "worker.stats_listen=", *options, "up", "--data", str(data), "--listen", "127.0.0.1:0"],
        log=folder / "up.log",
        environment=environment(folder),
        before=before,
    )
    try:
        note = await _listening(process, data)
        await until(ready)
        async with aiohttp.ClientSession() as client:
            yield Service(process, data, client, note.url)
    finally:
        process.send(signal.SIGCONT)
        process.kill()


async def _listening(process: Process, data: Path) -> presence.Presence:
    async def up() -> bool:
        assert process.running, process.told()[-4000:]
        note = presence.find(data)
        return note is not None and note.pid == process.pid

    await until(up)
    found = presence.find(data)
    assert found is not None
    return found
