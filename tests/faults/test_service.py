"""`headrace up` and its folder: one process, killed at any moment, started again, nothing missing."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.agents.installation import AGENTS, installation, settings_in, settled
from tests.faults.service import Service, service
from tests.holdings import check_complete, submitted_hashes, times_published
from tests.processes import children, environment, gone, run
from tests.seeds import seeded

SOURCE = "testing"
KILLS = 4
FILES_A_LIFE = 40
AT_ONCE = 8
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectorError)
"""What a client sees of a service that is killed."""


@pytest.mark.timeout(240)
async def test_a_killed_service_goes_on_with_everything_it_had_accepted(tmp_path: Path) -> None:
    chance = seeded(53)
    accepted: list[str] = []
    for life in range(KILLS):
        async with service(tmp_path) as running:
            below = children(running.process.pid)
            doomed_after = chance.randrange(FILES_A_LIFE)
            accepted += await submitted_until_killed(running, life, doomed_after)
        await gone(below)
    async with service(tmp_path) as running:
        for sha256 in accepted:
            await running.enriched(sha256)
        assert await running.parked() == []
        await running.json("/readyz")
        running.process.send(signal.SIGTERM)
        assert await running.process.ended() == 0, running.process.told()
        assert "Traceback" not in running.process.told()
    # The archive may not have been done with everything: the agents of this process do the rest.
    async with installation(settings_in(tmp_path / "data", AGENTS)) as (parts, agents):
        await settled(agents)
        # Some may have been accepted without anybody having been told.
        hashes = await submitted_hashes(parts, SOURCE)
        assert set(accepted) <= set(hashes)
        await check_complete(parts, SOURCE, hashes, left_over=KILLS * AT_ONCE)
        assert set((await times_published(parts, SOURCE, "enriched")).values()) == {1}


async def submitted_until_killed(running: Service, life: int, doomed_after: int) -> list[str]:
    """Submit files, several at once; kill the service after so many answers; return what was accepted."""
    accepted: list[str] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            data = b"file %d of life %d" % (number, life)
            answer = await running.submit(data, source=SOURCE)
            assert answer["sha256"] == hashlib.sha256(data).hexdigest()
            accepted.append(answer["sha256"])
            if len(accepted) > doomed_after:
                running.process.kill()

    answers = await asyncio.gather(*map(one, range(FILES_A_LIFE)), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {type(None), *LOST}
    return accepted


async def test_a_second_process_on_the_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        for second in (["up", "--listen", "127.0.0.1:0"], ["scan", str(tmp_path)]):
            started = run([*second, "--data", str(running.data)], environment=environment(tmp_path))
            assert started.returncode == 1
            assert str(running.process.pid) in started.stderr
            assert "Traceback" not in started.stderr
        answer = await running.submit(b"still here", source=SOURCE)
        await running.enriched(answer["sha256"])


async def test_an_address_that_is_taken_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        taken = running.url.removeprefix("http://")
        second = ["up", "--listen", taken, "--data", str(tmp_path / "other")]
        started = run(second, environment=environment(tmp_path))
        assert started.returncode == 1
        assert taken in started.stderr
        assert "Traceback" not in started.stderr
