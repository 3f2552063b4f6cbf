"""A scan that is interrupted, and run again: every file is answered, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.app import make_parts, open_parts
from pipeline.scan import SOURCE
from tests.agents.installation import settings_in
from tests.holdings import check_complete, times_published
from tests.processes import Process, children, environment, gone, until
from tests.realfiles import real_files, sha256_of
from tests.seeds import seeded

FILES = 300
INTERRUPTIONS = 5
INTERRUPTED = 130


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Give a folder with copies of real files; some of them are the same, one is empty."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number, path in enumerate(real_files(FILES - 1)):
        shutil.copy(path, folder / f"{number:04}-{path.name}")
    (folder / "empty").touch()
    return folder


def scan(files: Path, tmp_path: Path, name: str) -> Process:
    """Start a scan."""
    return Process(
        ["scan", str(files), "--data", str(tmp_path / "data"), "--json"],
        log=tmp_path / f"{name}.log",
        environment=environment(tmp_path),
    )


def answers(process: Process) -> list[dict[str, Any]]:
    """Return what a scan printed; a line that was cut off by its end is left out."""
    return [json.loads(line) for line in process.printed().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_an_interrupted_scan_goes_on_where_it_stopped(
    tmp_path: Path, files: Path, ending: signal.Signals
) -> None:
    moments = seeded(23)
    for number in range(INTERRUPTIONS):
        process = scan(files, tmp_path, f"interrupted-{number}")
        await random_moment(process, moments)
        below = children(process.pid)
        process.send(ending)
        code = await process.ended()
        # It may have been done already, or still be Python that starts and knows no better.
        assert code in {0, INTERRUPTED, -ending}, process.told()
        assert "Traceback" not in process.told()
        await gone(below)
    last = scan(files, tmp_path, "last")
    assert await last.ended() == 0, last.told()
    hashes = await asyncio.to_thread(lambda: {str(path): sha256_of(path) for path in files.iterdir()})
    assert {answer["path"]: answer["sha256"] for answer in answers(last)} == hashes
    assert len(answers(last)) == FILES
    assert {answer["outcome"] for answer in answers(last)} <= {"new", "known"}
    async with open_parts(make_parts(settings_in(tmp_path / "data", ["enrich"]))) as parts:
        await check_complete(parts, SOURCE, list(hashes.values()))
        for action in ("sourced", "enriched"):
            assert set((await times_published(parts, SOURCE, action)).values()) == {1}, action


async def random_moment(process: Process, moments: random.Random) -> None:
    """Return at a random time, which may hit the start, or at a random number of answers, or the end."""
    if moments.randrange(3) == 0:
        await asyncio.sleep(moments.uniform(0, 3))
        return
    wanted = moments.randrange(FILES)
    await until(lambda: not process.running or len(answers(process)) > wanted)


async def test_a_scan_beside_another_is_refused_and_disturbs_nothing(tmp_path: Path, files: Path) -> None:
    first = scan(files, tmp_path, "first")
    await until(lambda: len(answers(first)) > 0)
    first.send(signal.SIGSTOP)  # or it might be done before the second has begun
    second = scan(files, tmp_path, "second")
    assert await second.ended() == 1
    first.send(signal.SIGCONT)
    assert str(first.pid) in second.told()
    assert "Traceback" not in second.told()
    assert await first.ended() == 0
    assert Counter(answer["outcome"] for answer in answers(first)) == {"new": FILES}
