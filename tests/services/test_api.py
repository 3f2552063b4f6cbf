"""The HTTP surface and a worker as processes of their own on the real servers, used through the command."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from pipeline.app import Parts
from pipeline.web import presence
from tests.processes import Process, ended_at_last, run, until
from tests.services.lab import FOUR_SERVERS, Lab

pytestmark = [*FOUR_SERVERS, pytest.mark.timeout(240)]

DATA = b"from the command line to four servers and back\n" * 1000


async def test_what_is_submitted_over_http_is_found_and_comes_back_byte_for_byte(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with lab.worker("worker") as worker, ended_at_last(lab.api("api")) as api:
        url = await listening(api, tmp_path / "api")
        async with lab.parts() as parts:
            await use(Commands(lab, url), parts, tmp_path)
        for process in (worker, api):
            process.send(signal.SIGTERM)
            assert await process.ended() == 0, process.told()
            assert "Traceback" not in process.told()


class Commands:
    """The command `headrace` as people use it who know where an API is."""

    def __init__(self, lab: Lab, url: str) -> None:
        self._lab = lab
        self._url = url

    async def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command, check its exit code, return what it prints."""
        arguments = ["--config", str(self._lab.config), "-s", f"api={self._url}", *words]
        done = await asyncio.to_thread(run, arguments, environment=self._lab.environment)
        assert done.returncode == code, done.stderr
        return done.stdout


async def use(headrace: Commands, parts: Parts, folder: Path) -> None:
    """Submit, search, fetch, and ask where it is."""
    answer = await headrace("submit", str(folder / "file"), "-r", "ticket=4711", "--json")
    sha256 = json.loads(answer)["sha256"]

    async def enriched() -> bool:
        await parts.index.refresh()  # OpenSearch shows new documents by itself every 30 seconds
        page = json.loads(await headrace("search", f"sha256:{sha256}", "--json"))
        return {hit["body"]["action"] for hit in page["hits"]} == {"sourced", "enriched"}

    async def everywhere() -> bool:
        line = json.loads(await headrace("where", sha256, "--json"))
        return all(line[part] for part in ("records", "objects", "rows", "documents"))

    await until(enriched)
    await until(everywhere)
    await headrace("get", sha256, "--raw", "-o", str(folder / "back"))
    assert await asyncio.to_thread((folder / "back").read_bytes) == DATA
    await headrace("where", "0" * 64, code=3)
    assert json.loads(await headrace("parked", "list", "--json"))["entries"] == []


async def listening(api: Process, data: Path) -> str:
    """Return where a started `headrace api` listens."""

    def announced() -> bool:
        assert api.running, api.told()
        note = presence.find(data)
        return note is not None and note.pid == api.pid

    await until(announced)
    note = presence.find(data)
    assert note is not None
    return note.url
