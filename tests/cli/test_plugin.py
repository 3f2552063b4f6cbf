"""headrace plugin: over files with nothing running, and as a process that ends its job before itself."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from headrace.remote import connect
from pipeline.events.codec import decode_stored
from pipeline.events.status import StatusEvent
from tests.cli.command import Command
from tests.kit.between import in_front_of
from tests.kit.test_remote import sourced
from tests.processes import Process, ended_at_last, environment, until
from tests.web.site import Site, opened

PLUGIN = """
import time
from headrace import Job, Plugin

plugin = Plugin("tried", "1.0", features={"lines": "integer"})

@plugin.run
def count(job: Job) -> None:
    data = job.content()
    if data == b"broken":
        raise ValueError("it is broken")
    if data.startswith(b"slow"):
        open("begun", "w").close()
        import os
        while not os.path.exists("go on"):
            time.sleep(0.01)
    job.feature("lines", data.count(b"\\n"))
    job.child(data[::-1])

if __name__ == "__main__":
    plugin.main()
"""


@pytest.fixture
def module(headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of a plugin whose module lies in the working folder, and is forgotten afterwards."""
    name = f"tried_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return f"{name}:plugin"


def test_a_plugin_over_a_file_lists_its_events(headrace: Command, module: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    result = headrace.plain("plugin", "test", module, "notes.txt")
    rows = [line.split("\t") for line in result.lines]
    assert [row[:2] for row in rows] == [
        ["notes.txt", "completed"],
        ["notes.txt", "enriched"],
        ["notes.txt", "extracted"],
    ]
    assert rows[1][3] == "lines=2"
    told = json.loads(headrace.plain("plugin", "test", "--json", module, "notes.txt").out)
    assert (told["path"], told["status"]) == ("notes.txt", "completed")
    assert [event["action"] for event in told["events"]] == ["enriched", "extracted"]
    assert not headrace.data.exists(), "nothing is stored"


def test_a_plugin_that_fails_on_a_file_says_where_and_goes_on_with_the_others(
    headrace: Command, module: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("broken")
    (tmp_path / "b").write_text("well\n")
    result = headrace.plain("plugin", "test", module, "a", "b", code=1)
    assert "error-exception" in result.lines[0]
    assert "ValueError: it is broken" in result.err
    assert len(result.err.splitlines()) > 3, "a traceback keeps its lines"
    assert "lines=1" in result.text


def test_what_is_not_there_is_told(headrace: Command, module: str, tmp_path: Path) -> None:
    assert "no such file" in headrace.plain("plugin", "test", module, "gone", code=3).err
    (tmp_path / "a").write_text("x")
    assert "No module named" in headrace.plain("plugin", "test", "nowhere:plugin", "a", code=2).err
    assert "installed ones" in headrace.plain("plugin", "run", "nowhere", code=2).err
    assert "No module named" in headrace.plain("up", "--plugin", "nowhere:plugin", code=2).err
    assert headrace.plain("plugin", "list", "--json").json == []


async def _statuses(site: Site) -> list[StatusEvent]:
    records = await site.records(f"azul.{site.prefix}.system.status")
    return [event for record in records if (event := decode_stored("status", record.value)) is not None]


@pytest.mark.parametrize("by_itself", [False, True], ids=["command", "main"])
async def test_a_plugin_that_is_told_to_end_finishes_the_job_at_hand(
    tmp_path: Path, by_itself: bool
) -> None:
    (tmp_path / "slowly.py").write_text(PLUGIN)
    async with opened(tmp_path / "site") as site, in_front_of(site.url) as between:
        async with connect(between.url, "test") as hub:
            await between.hand_out(await sourced(hub, tmp_path, b"slow\n"))
        words = ["plugin", "run", "slowly:plugin", "--api", between.url]
        before = ["/usr/bin/env", "-C", str(tmp_path)]
        if by_itself:
            # The shell takes the command's own name, which comes behind, for its own.
            before += ["/bin/sh", "-c", f"exec {sys.executable} slowly.py --api {between.url}"]
            words = []
        process = Process(words, log=tmp_path / "log", environment=environment(tmp_path), before=before)
        with ended_at_last(process):
            await until(lambda: (tmp_path / "begun").exists() or _alive(process))
            process.send(signal.SIGTERM)
            assert await _statuses(site) == []
            (tmp_path / "go on").touch()
            assert await process.ended() == 0
        [status] = await _statuses(site)
        assert status.entity.status == "completed"
        assert len(between.asked) == 1


async def test_a_plugin_inside_the_service_is_handed_what_is_submitted(tmp_path: Path) -> None:
    (tmp_path / "quick.py").write_text(PLUGIN)
    words = ["up", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--plugin", "quick:plugin"]
    before = ["/usr/bin/env", "-C", str(tmp_path)]
    # No pages of statistics: their port may be taken.
    variables = environment(tmp_path, HEADRACE_WORKER__STATS_LISTEN="")
    process = Process(words, log=tmp_path / "log", environment=variables, before=before)
    with ended_at_last(process):
        await process.says("headrace: http://")
        url = process.told().split("headrace: ")[1].split()[0].rstrip("/")
        async with aiohttp.ClientSession() as client:
            (await client.post(f"{url}/api/objects", data=b"one\n")).raise_for_status()

            async def found() -> bool:
                async with client.get(f"{url}/api/search", params={"q": "features.name:lines"}) as answer:
                    return bool((await answer.json())["total"])

            await until(found)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert "plugin starts again" not in process.told()
    assert "waiting for the hub" not in process.told()


def _alive(process: Process) -> bool:
    assert process.running, process.told()
    return False
