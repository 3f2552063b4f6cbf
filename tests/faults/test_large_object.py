"""An object far larger than memory may be: it streams through every part, and memory stays flat."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline import limits
from tests.faults.service import Service, service
from tests.processes import resident_bytes

SIZE_BYTES = int(os.environ.get("HEADRACE_TEST_LARGE_BYTES", 1 * limits.GIB))
"""Many times what the service may hold. By hand it is run with 4 GiB and more."""
MOST_RESIDENT_BYTES = 400 * limits.MIB
BLOCK = bytes(limits.MIB)


async def zeros() -> AsyncIterator[bytes]:
    """Yield what a sparse file of that size reads as."""
    for _ in range(SIZE_BYTES // len(BLOCK)):
        yield BLOCK


def sha256_of_zeros() -> str:
    """Hash it without the service."""
    found = hashlib.sha256()
    for _ in range(SIZE_BYTES // len(BLOCK)):
        found.update(BLOCK)
    return found.hexdigest()


@pytest.mark.timeout(900)
async def test_a_huge_object_never_fills_memory(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        before = resident_bytes(running.process.pid)
        async with watched(running) as seen:
            answer = await running.submit(zeros(), source="testing")
            assert answer["size_bytes"] == SIZE_BYTES
            assert answer["sha256"] == await asyncio.to_thread(sha256_of_zeros)
            await running.enriched(answer["sha256"], patience_seconds=600)
            content = f"/api/objects/{answer['sha256']}/content"
            async with running.client.get(running.url + content, params={"format": "raw"}) as response:
                received = hashlib.sha256()
                async for chunk in response.content.iter_chunked(limits.MIB):
                    received.update(chunk)
            assert received.hexdigest() == answer["sha256"]
        most = max(seen)
        mib = limits.MIB
        sys.stdout.write(
            f"{SIZE_BYTES // mib} MiB: {before // mib} MiB resident before, at most {most // mib}\n"
        )
        assert most < MOST_RESIDENT_BYTES


@contextlib.asynccontextmanager
async def watched(running: Service) -> AsyncIterator[list[int]]:
    """Look at the memory of a service and its parser processes as often as that can be done."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(resident_bytes, running.process.pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
