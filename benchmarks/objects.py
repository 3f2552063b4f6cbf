"""Object stores: how fast small objects, streams and uploads go, beside the least that has to be done.

Each function measures once and returns figures; ``python -m benchmarks.objects FOLDER`` prints them all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

from pipeline import limits
from pipeline.objects.hashing import Digest, store_stream
from pipeline.objects.keys import stream_key
from pipeline.objects.location import make_store
from pipeline.objects.port import ObjectStore

AT_ONCE = 64
"""Small objects on their way at once, as in a scan."""


class Figure(NamedTuple):
    """One row: what was measured, beside what it is compared with."""

    name: str
    figure: float
    unit: str
    bare: float

    @property
    def ratio(self) -> float:
        """How much of the bare rate is reached."""
        return self.figure / self.bare


def _key(digest: Digest) -> str:
    return stream_key("bench", "content", digest.sha256)


# --- small objects ---


async def small_puts(
    store: ObjectStore, folder: Path, count: int = 2000, size_bytes: int = 16_384
) -> Figure:
    """Measure small objects a second, hashed and durable, beside bare files synced one after another."""
    items = [os.urandom(size_bytes) for _ in range(count)]
    free = asyncio.Semaphore(AT_ONCE)

    async def put(data: bytes) -> None:
        async with free:
            await store_stream(store, data, _key)

    started = time.perf_counter()
    await asyncio.gather(*map(put, items))
    taken_seconds = time.perf_counter() - started
    bare_seconds = await asyncio.to_thread(_bare_files, folder, items)
    return Figure(f"small puts of {size_bytes} B", count / taken_seconds, "objects/s", count / bare_seconds)


def _bare_files(folder: Path, items: list[bytes]) -> float:
    bare = folder / "bare"
    bare.mkdir()
    started = time.perf_counter()
    for data in items:
        for algorithm in (hashlib.md5, hashlib.sha1, hashlib.sha512):
            algorithm(data).digest()
        descriptor = os.open(bare / hashlib.sha256(data).hexdigest(), os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
    return time.perf_counter() - started


# --- streams ---


async def stream_in(store: ObjectStore, folder: Path, size_bytes: int = 512 * limits.MIB) -> Figure:
    """Measure a stream put, beside a bare loop that writes a file and syncs it."""
    started = time.perf_counter()
    await store.put("bench/stream", _stream(size_bytes))
    taken_seconds = time.perf_counter() - started
    bare_seconds = await asyncio.to_thread(_bare_write, folder / "bare-stream", size_bytes)
    megabytes = size_bytes / limits.MIB
    return Figure("stream put", megabytes / taken_seconds, "MiB/s", megabytes / bare_seconds)


async def stream_out(store: ObjectStore, folder: Path) -> Figure:
    """Measure reading the object of `stream_in`, beside a bare loop over a file."""
    started = time.perf_counter()
    size_bytes = sum([len(chunk) async for chunk in await store.get("bench/stream")])
    taken_seconds = time.perf_counter() - started
    bare_seconds = await asyncio.to_thread(_bare_read, folder / "bare-stream")
    megabytes = size_bytes / limits.MIB
    return Figure("stream get", megabytes / taken_seconds, "MiB/s", megabytes / bare_seconds)


async def _stream(size_bytes: int) -> AsyncIterator[bytes]:
    chunk = os.urandom(65_536)
    for _ in range(size_bytes // len(chunk)):
        yield chunk


def _bare_write(path: Path, size_bytes: int) -> float:
    chunk = os.urandom(65_536)
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(size_bytes // len(chunk)):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def _bare_read(path: Path) -> float:
    started = time.perf_counter()
    with path.open("rb") as file:
        while file.read(limits.CHUNK_BYTES):
            pass
    return time.perf_counter() - started


# --- uploads ---


async def upload(store: ObjectStore, size_bytes: int = limits.GIB, rounds: int = 2) -> Figure:
    """Measure a HTTP upload that is hashed and durable under its hash, beside one only hashed.

    Client and server are two processes on this machine. Both kinds take turns; the best of each counts.
    """

    async def stored(request: web.Request) -> web.Response:
        digest, _ = await store_stream(store, request.content.iter_any(), _key)
        return web.json_response({"sha256": digest.sha256})

    async def bare(request: web.Request) -> web.Response:
        hashes = [hashlib.md5(), hashlib.sha1(), hashlib.sha256(), hashlib.sha512()]  # noqa: S324
        async for chunk in request.content.iter_any():
            for each in hashes:
                each.update(chunk)
        return web.json_response({"sha256": hashes[2].hexdigest()})

    megabytes = size_bytes / limits.MIB
    bare_seconds, taken_seconds = [], []
    for _ in range(rounds):
        bare_seconds.append(await _timed_upload(bare, size_bytes))
        taken_seconds.append(await _timed_upload(stored, size_bytes))
    name = f"upload of {megabytes:.0f} MiB"
    return Figure(name, megabytes / min(taken_seconds), "MiB/s", megabytes / min(bare_seconds))


async def _timed_upload(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], size_bytes: int
) -> float:
    app = web.Application(client_max_size=0)
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.objects", "--upload", str(port), str(size_bytes), stdout=-1
    )
    said, _ = await client.communicate()
    await runner.cleanup()
    assert client.returncode == 0
    return float(said)


async def _send(port: int, size_bytes: int) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
        started = time.perf_counter()
        async with session.post(f"http://127.0.0.1:{port}/", data=_stream(size_bytes)) as answer:
            await answer.read()
            assert answer.status == 200
        print(time.perf_counter() - started)


async def measure(folder: Path, url: str = "folder:") -> list[Figure]:
    """Measure everything on one store, in a folder of its own."""
    store = make_store(url, data_folder=folder / "data")
    await store.open()
    try:
        return [
            await small_puts(store, folder),
            await stream_in(store, folder),
            await stream_out(store, folder),
            await upload(store),
        ]
    finally:
        async for stat in store.list("bench/"):
            await store.delete(stat.key)
        await store.close()


def main() -> None:
    """Print the figures, or be the client of an upload."""
    if sys.argv[1:2] == ["--upload"]:
        asyncio.run(_send(*map(int, sys.argv[2:])))
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        for row in asyncio.run(measure(Path(folder), *sys.argv[2:])):
            measured = f"{row.name:24} {row.figure:10.0f} {row.unit:10}"
            print(f"{measured} bare {row.bare:8.0f}  ratio {row.ratio:.2f}")


if __name__ == "__main__":
    main()
