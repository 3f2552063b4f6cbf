"""Object stores and objects larger than memory should be used for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import s3_url, subprocess_environment

FLAT = """
import asyncio, sys
from pathlib import Path
from pipeline.objects.hashing import store_stream
from pipeline.objects.location import make_store
from tests.stores import layered

SIZE = 200 * 2**20

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

async def zeros(size):
    piece = bytes(2**16)
    for _ in range(size // len(piece)):
        yield piece

WARM, LARGE, HASHED = (f"flat/{name}/{'0' * 64}" for name in ("warm", "large", "hashed"))

async def main(url, layers, data):
    store = layered(make_store(url, data_folder=Path(data)), layers, Path(data))
    await store.open()
    await store.put(WARM, zeros(20 * 2**20))
    before = peak()
    await store.put(LARGE, zeros(SIZE))
    await store_stream(store, zeros(SIZE), lambda digest: HASHED)
    for key in (LARGE, HASHED):
        assert sum([len(chunk) async for chunk in await store.get(key)]) == SIZE
        async with store.file(key) as path:
            assert path.stat().st_size == SIZE
    print((peak() - before) // 2**20)
    for key in (WARM, LARGE, HASHED):
        await store.delete(key)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "kind", ["folder", "folder, aes and xor", "folder, cached", pytest.param("s3", marks=pytest.mark.s3)]
)
def test_memory_stays_flat_for_large_objects(
    request: pytest.FixtureRequest, tmp_path: Path, unique: str, kind: str
) -> None:
    """200 MiB through every way of writing and reading; a store that gathers them would grow by as much."""
    url = s3_url(request.getfixturevalue("s3_server"), unique) if kind == "s3" else "folder:"
    ran = subprocess.run(
        [sys.executable, "-c", FLAT, url, kind.partition(", ")[2], str(tmp_path)],
        capture_output=True,
        check=False,
        env=subprocess_environment(),
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert int(ran.stdout) < 100
