"""Streams a second uploaded and identified over HTTP, beside the bare calls on the same files.

    python -m benchmarks.hub_streams

Files of 4 KiB, 64 KiB and 16 MiB, cut from programs of this machine, eight uploads at a time, to a service
in a process of its own with a folder store. The bare figure is that of benchmarks.identify: the same
hashes, libmagic questions and YARA rules back to back in two bare processes, with nothing stored.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.hub import Rate, served
from benchmarks.identify import BareProcesses, make_files

FILES = ((4 * 1024, 400), (64 * 1024, 200), (16 * 1024 * 1024, 8))
"""Sizes in bytes, and how many files of each."""
UPLOADS = 8
ROUNDS = 3


async def _round_seconds(client: aiohttp.ClientSession, url: str, paths: Sequence[Path]) -> float:
    """Upload all files once; return how long that took."""
    todo = iter(paths)

    async def work() -> None:
        for path in todo:
            data = await asyncio.to_thread(path.read_bytes)
            async with client.post(f"{url}/api/v3/stream/testing/content", data=data) as response:
                assert response.status == 200, await response.text()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(UPLOADS)))
    return time.perf_counter() - started


async def measure(folder: Path) -> list[Rate]:
    """Measure every size; rounds of both alternate, the best of each counts."""
    rates = []
    async with served(folder / "data", "embedded:", "bench") as url, aiohttp.ClientSession() as client:
        for size, count in FILES:
            cut = folder / f"{size}"
            cut.mkdir()
            paths = make_files(cut, count, size)
            bare = BareProcesses(paths)
            best = [float("inf"), float("inf")]
            for _ in range(ROUNDS):
                best[0] = min(best[0], await _round_seconds(client, url, paths))
                best[1] = min(best[1], await asyncio.to_thread(bare.round_seconds))
            bare.close()
            rates.append(Rate(f"upload, {size // 1024:,} KiB", len(paths) / best[0], len(paths) / best[1]))
    return rates


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rate in uvloop.run(measure(Path(folder))):
            ratio = rate.ours / rate.bare
            print(f"{rate.name:<42} {rate.ours:>9,.1f}/s   bare {rate.bare:>9,.1f}/s   {ratio:.2f}")


if __name__ == "__main__":
    main()
