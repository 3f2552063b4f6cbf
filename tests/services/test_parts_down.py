"""A part that is down, at the start and in the middle: a logged reason, a wait, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.app import Parts
from pipeline.errors import Unavailable
from tests.holdings import check_complete, published
from tests.processes import until
from tests.realfiles import real_files
from tests.services.lab import FOUR_SERVERS, SOURCE, Lab, submit_all
from tests.services.servers import OwnServers

pytestmark = [*FOUR_SERVERS, pytest.mark.timeout(600)]

FILES = 60
PATIENCE_SECONDS = 240.0
WAITS = {
    "kafka": "Unable connect to node",
    "s3": "again_in_seconds=",
    "postgres": "again_in_seconds=",
    "opensearch": "again_in_seconds=",
}
"""What the log of a worker says, with the reason, while it waits."""
PARTS = {"kafka": "log", "s3": "objects", "postgres": "database", "opensearch": "index"}


@pytest.fixture
async def own_lab(tmp_path: Path, unique: str, own: OwnServers) -> Lab:
    """Give an installation on them."""
    return Lab(own.start(), unique, tmp_path)


@pytest.mark.parametrize("name", sorted(PARTS))
async def test_a_part_that_is_down_is_waited_for_and_nothing_is_lost(
    own: OwnServers, own_lab: Lab, name: str
) -> None:
    paths = real_files(FILES)
    third, half = FILES // 3, FILES // 2
    async with own_lab.parts() as parts:
        hashes = await submit_all(parts, paths[:third])
        await own.down(name)
        with own_lab.worker("one") as worker:
            await worker.says(f"part={PARTS[name]} reason=")
            await own.up(name)
            hashes += await submit_all(parts, paths[third:half])
            await some_enriched(parts)
            with worker.halted():  # However fast it is, it has work left when the part goes.
                hashes += await submit_all(parts, paths[half : 2 * third])
                await own.down(name)
                told = len(worker.told())
            hashes += await submitted_meanwhile(parts, paths[2 * third :], name)
            await until(lambda: WAITS[name] in worker.told()[told:], PATIENCE_SECONDS)
            await own.up(name)
            hashes += await submit_all(parts, paths[len(hashes) :])
            await own_lab.settled(parts, PATIENCE_SECONDS)
            assert worker.running
            assert "Traceback" not in worker.told()
        await check_complete(parts, SOURCE, hashes)


async def some_enriched(parts: Parts) -> None:
    """Return when the worker is in the middle of it."""

    async def are_some() -> bool:
        return await published(parts, SOURCE, "enriched") > 0

    await until(are_some, PATIENCE_SECONDS)


async def submitted_meanwhile(parts: Parts, paths: list[Path], name: str) -> list[str]:
    """Submit while a part is down: refused with a reason when it needs that part, accepted otherwise."""
    if name in {"postgres", "opensearch"}:
        return await submit_all(parts, paths)
    with pytest.raises(Unavailable) as refused:
        await submit_all(parts, paths[:1])
    assert refused.value.why
    return []
