"""Real files through the real servers: everything is counted, on all four, and told apart by its hash."""

from __future__ import annotations

import asyncio
import os
import random
import sys

import pytest

from agents.run import Agents
from pipeline.app import Parts
from tests.holdings import Holdings, check_complete, published
from tests.processes import until
from tests.realfiles import real_files, sha256_of
from tests.seeds import seeded
from tests.services.lab import FOUR_SERVERS, SOURCE, Lab, submit_all

pytestmark = [*FOUR_SERVERS, pytest.mark.timeout(900)]

FILES = int(os.environ.get("HEADRACE_TEST_FILES", "400"))
"""Enough to cross every batch limit; by hand it is run with 2,000."""
KILLS = 20
STARTING_SECONDS = 4.0
"""About as long as a worker takes to start."""
PATIENCE_SECONDS = 600.0


async def test_files_on_the_real_servers_are_neither_lost_nor_doubled(lab: Lab) -> None:
    paths = real_files(FILES)
    async with lab.parts() as parts:
        with lab.worker("one"), lab.worker("two"):
            hashes = await submit_all(parts, paths)
            assert hashes == [await asyncio.to_thread(sha256_of, path) for path in paths]
            await lab.settled(parts, PATIENCE_SECONDS)
        tell(await check_complete(parts, SOURCE, hashes), len(paths))


async def test_workers_killed_at_random_moments_lose_and_double_nothing(lab: Lab) -> None:
    moments = seeded(11)
    paths = real_files(FILES)
    hashes: list[str] = []
    workers = {name: lab.start(name) for name in ("one", "two")}
    try:
        async with lab.parts() as parts:
            for number in range(KILLS):
                hashes += await submit_all(parts, paths[number::KILLS])
                await random_moment(parts, moments)
                name = moments.choice(sorted(workers))
                workers[name].kill()
                workers[name] = lab.start(name)
            await lab.settled(parts, PATIENCE_SECONDS)
            assert all(worker.running for worker in workers.values())
            tell(await check_complete(parts, SOURCE, hashes), len(paths))
    finally:
        for worker in workers.values():
            worker.kill()


def tell(held: Holdings, files: int) -> None:
    """Say how many events stand there twice: published by a worker just when it lost its partition.

    There are none as a rule. Whoever counts by keys, as every sink does, sees each once in any case.
    """
    sys.stdout.write(f"{held}; {held.archived_events - 2 * files} enriched events were published again\n")


async def random_moment(parts: Parts, moments: random.Random) -> None:
    """Return at a random time from now, which may hit a start, or when some files more were enriched."""
    if moments.randrange(2):
        await asyncio.sleep(moments.uniform(0, STARTING_SECONDS))
        return
    agents = Agents(parts, ("enrich",))
    wanted = await published(parts, SOURCE, "enriched") + moments.randint(1, FILES // KILLS)

    async def worked() -> bool:
        return await published(parts, SOURCE, "enriched") >= wanted or not await agents.backlog()

    await until(worked, PATIENCE_SECONDS)
