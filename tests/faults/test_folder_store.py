"""A folder store when its process is killed and when its disk is full."""

from __future__ import annotations

import hashlib
import random
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.errors import StorageFull
from pipeline.objects.folder import FolderStore
from tests.stores import bytes_of, pieces, subprocess_environment

WRITER = """
import asyncio, hashlib, os, random, sys
from pathlib import Path
from pipeline.objects.folder import FolderStore
from pipeline.objects.hashing import store_stream
from tests.stores import bytes_of, pieces

async def main(root, seed):
    chance = random.Random(seed)
    store = FolderStore(Path(root))
    await store.open()
    def say(*words):
        os.write(1, (" ".join(words) + "\\n").encode())
    async def content(writer):
        while True:
            data = bytes_of(chance.choice([0, 1, 5000, 300_000, 3_000_000]), f"{chance.random()}")
            _, stat = await store_stream(store, pieces(data), lambda d: f"s/content/{d.sha256}")
            say("stored", stat.key)
    async def replace():
        for number in range(10**9):
            await store.put("replaced/one", f"{number:010}".encode() * chance.choice([1, 200_000]))
            say("replaced", str(number))
    await asyncio.gather(content(1), content(2), content(3), replace())

asyncio.run(main(*sys.argv[1:]))
"""


def _run_until_killed(root: Path, seed: int) -> tuple[set[str], int]:
    """Let a process write, kill it after a number of acknowledgements, and return what it was told."""
    lines_before_kill = random.Random(seed).randrange(1, 60)  # noqa: S311 - any moment will do
    stored: set[str] = set()
    replaced = -1
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(seed)],
        stdout=subprocess.PIPE,
        env=subprocess_environment(),
    ) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            what, which = line.decode().split()
            if what == "stored":
                stored.add(which)
            else:
                replaced = int(which)
            if count == lines_before_kill:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    return stored, replaced


async def test_kill_9_while_putting_leaves_only_whole_objects_and_loses_none(tmp_path: Path) -> None:
    stored: set[str] = set()
    for seed in range(6):
        acknowledged, replaced = _run_until_killed(tmp_path, seed)
        stored |= acknowledged
        async with _opened(tmp_path) as store:
            there = {stat.key async for stat in store.list("s/")}
            assert stored <= there
            for key in there:
                assert hashlib.sha256(await _read(store, key)).hexdigest() == key.rpartition("/")[2]
            if replaced >= 0:
                number = await _read(store, "replaced/one")
                assert number == number[:10] * (len(number) // 10)
                assert int(number[:10]) >= replaced
            await store.delete("replaced/one")
            assert len(list((tmp_path / ".partial").iterdir())) == 1
    assert list((tmp_path / ".partial").iterdir()) == []


# --- disk full ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 8 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "headrace-test", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_refuses_and_leaves_nothing_of_the_object(small_disk: Path) -> None:
    fitting, too_large = bytes_of(5 * limits.MIB), bytes_of(12 * limits.MIB)
    async with _opened(small_disk / "objects") as store:
        await store.put("a/fitting", fitting)

        with pytest.raises(StorageFull):
            await store.put("a/large", pieces(too_large))
        with pytest.raises(StorageFull):
            await store.copy("a/fitting", "a/copy")
        with pytest.raises(StorageFull):
            await _put_many(store)
        with pytest.raises(StorageFull):
            await _write_draft(store)
        with pytest.raises(StorageFull):
            await store.put("a/fitting", fitting)

        assert _unfinished(small_disk / "objects") == []
        assert await _read(store, "a/fitting") == fitting
        assert await store.stat("a/large") is None
        async for stat in store.list("small/"):
            assert stat.size_bytes == 100_000
            await store.delete(stat.key)
        await store.put("a/after", b"there is room again")
        assert await _read(store, "a/after") == b"there is room again"


async def _put_many(store: FolderStore) -> None:
    for number in range(100):
        await store.put(f"small/{number}", bytes_of(100_000))


async def _write_draft(store: FolderStore) -> None:
    async with store.draft() as draft:
        for _ in range(12):
            await draft.write(bytes_of(limits.MIB))


def _unfinished(root: Path) -> list[Path]:
    return list(root.glob(".partial/*/*"))


LIMITED = """
import asyncio, sys
from pathlib import Path
from pipeline.errors import StorageFull
from pipeline.objects.folder import FolderStore
from tests.stores import bytes_of, pieces

async def main(root):
    store = FolderStore(Path(root))
    await store.open()
    await store.put("a/small", bytes_of(1000))
    for key, size in (("a/large", 3_000_000), ("a/small", 4_500_000)):
        try:
            await store.put(key, pieces(bytes_of(size)))
        except StorageFull as error:
            print(key, "full", error)
    print(sorted([stat.key async for stat in store.list()]), list(Path(root).glob(".partial/*/*")))
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_file_size_limit_is_told_like_a_full_disk(tmp_path: Path) -> None:
    """Needs no rights, so that some kind of full disk is tried everywhere."""
    most_bytes = 2 * limits.MIB
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        check=False,
        env=subprocess_environment(),
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    assert ran.returncode == 0, ran.stderr.decode()
    lines = ran.stdout.decode().splitlines()
    assert [line.split(" ")[:2] for line in lines[:2]] == [["a/large", "full"], ["a/small", "full"]]
    assert lines[2] == "['a/small'] []"


@asynccontextmanager
async def _opened(root: Path) -> AsyncIterator[FolderStore]:
    store = FolderStore(root)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _read(store: FolderStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])
