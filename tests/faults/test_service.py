"""`headrace up` and its folder: one process, killed at any moment, started again, and nothing is missing."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from pipeline.app import make_parts, open_parts
from tests.agents.installation import settings_in
from tests.faults.service import Service, service
from tests.holdings import check_complete, times_published
from tests.processes import children, environment, gone, run
from tests.seeds import seeded

SOURCE = "testing"
KILLS = 4
FILES_A_LIFE = 40
AT_ONCE = 8


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
        await ended_in_order(running)
    async with open_parts(make_parts(settings_in(tmp_path / "data", ["enrich"]))) as parts:
        held = await check_complete(parts, SOURCE, accepted)
        assert held.submissions >= KILLS
        assert set((await times_published(parts, SOURCE, "enriched")).values()) == {1}


async def submitted_until_killed(running: Service, life: int, doomed_after: int) -> list[str]:
    """Submit files, several at once, and kill the service after so many answers; return what was accepted."""
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

    await asyncio.gather(*map(one, range(FILES_A_LIFE)), return_exceptions=True)
    return accepted
