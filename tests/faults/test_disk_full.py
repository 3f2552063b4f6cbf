"""The disk of an embedded installation is full: said clearly, waited for, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.app import make_parts, open_parts
from tests.agents.installation import AGENTS, installation, settings_in, settled
from tests.faults.service import Service, service
from tests.faults.small_disk import SmallDisk, small_disk
from tests.holdings import check_complete, submitted_hashes, times_published
from tests.processes import environment, run, until
from tests.realfiles import real_files, sha256_of

SOURCE = "testing"
FULL = "No space left on device"
CREATED, UNAVAILABLE = 201, 503
AT_ONCE = 16
DISK_MIB = 64
SCAN_FILES = 150


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a disk of its own for the data folder."""
    with small_disk(tmp_path / "data", DISK_MIB) as made:
        if made is None:
            pytest.skip("mounting a file system needs more rights")
        yield made


@pytest.mark.timeout(240)
async def test_a_service_tells_of_a_full_disk_waits_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async with service(tmp_path) as running:
        disk.fill(leave_bytes=limits.MIB)
        accepted = await submitted_until_full(running)
        disk.fill()
        # What was accepted last is still on its way through the agents, which have no room to write to.
        await until(lambda: running.process.told().count(FULL) > 0)
        await running.json("/healthz")
        disk.free()
        for sha256 in accepted:
            await running.enriched(sha256)
        assert await running.parked() == []
        assert "Traceback" not in running.process.told()
    # What waits longest may be in the middle of its wait: the agents of this process do the rest.
    async with installation(settings_in(tmp_path / "data", AGENTS)) as (parts, agents):
        await settled(agents)
        hashes = await submitted_hashes(parts, SOURCE)
        assert set(accepted) <= set(hashes)
        await check_complete(parts, SOURCE, hashes, left_over=AT_ONCE)
        assert set((await times_published(parts, SOURCE, "enriched")).values()) == {1}


async def submitted_until_full(running: Service) -> list[str]:
    """Submit files, several at once, until one is refused for want of room; return what was accepted."""
    accepted: list[str] = []
    full = asyncio.Event()

    async def submit(number: int) -> None:
        while not full.is_set():
            data = b"%d of %d" % (len(accepted), number)
            objects = f"{running.url}/api/objects"
            async with running.client.post(objects, data=data, params={"source": SOURCE}) as response:
                answer = await response.json()
            if response.status == CREATED:
                accepted.append(answer["sha256"])
            else:
                assert (response.status, answer["why"]) == (UNAVAILABLE, FULL)
                full.set()

    await asyncio.gather(*map(submit, range(AT_ONCE)))
    return accepted


@pytest.mark.timeout(240)
async def test_a_scan_ends_with_the_reason_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: SmallDisk
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number, path in enumerate(real_files(SCAN_FILES)):
        shutil.copy(path, files / f"{number:03}")
    disk.fill(leave_bytes=4 * limits.MIB)
    arguments = ["scan", str(files), "--data", str(tmp_path / "data"), "--json"]
    first = await asyncio.to_thread(run, arguments, environment=environment(tmp_path))
    assert first.returncode == 4, first.stderr
    assert FULL in first.stderr.splitlines()[-1]
    assert "Traceback" not in first.stderr
    disk.free()
    second = await asyncio.to_thread(run, arguments, environment=environment(tmp_path))
    assert second.returncode == 0, second.stderr
    answers = [json.loads(line) for line in second.stdout.splitlines()]
    hashes = await asyncio.to_thread(lambda: {str(path): sha256_of(path) for path in files.iterdir()})
    assert {answer["path"]: answer["sha256"] for answer in answers} == hashes
    async with open_parts(make_parts(settings_in(tmp_path / "data", ["enrich"]))) as parts:
        await check_complete(parts, "scan", list(hashes.values()))
        for action in ("sourced", "enriched"):
            assert set((await times_published(parts, "scan", action)).values()) == {1}
