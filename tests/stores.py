"""Object stores for tests: a new, empty one of each kind, and a look at what it left unfinished."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiobotocore.session import get_session

from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.objects.cached import CachedStore
from pipeline.objects.copies import CopiedStore
from pipeline.objects.encoded import EncodedStore
from pipeline.objects.forms import readable_forms
from pipeline.objects.location import make_store
from pipeline.objects.port import ObjectStore
from tests.conftest import S3Server

KINDS = [
    "folder",
    "memory",
    pytest.param("s3", marks=pytest.mark.s3),
    "folder, aes",
    "memory, aes and xor",
    pytest.param("s3, aes", marks=pytest.mark.s3),
    "folder, cached",
    "folder, copied",
    pytest.param("s3, copied", marks=pytest.mark.s3),
]
"""Parameters for a test or fixture that runs on all: a store, and what lies over it."""

AES_KEY = b"abcdefghijklmnopqrstuvwx"


class Bench:
    """An open store, with its files on this machine and, for S3, its uploads on the server."""

    def __init__(self, kind: str, store: ObjectStore, data_folder: Path, uploads: Uploads | None) -> None:
        self.kind = kind
        self.store = store
        self._data_folder = data_folder
        self._uploads = uploads

    async def read(self, key: str, **span: int) -> bytes:
        """Read an object whole, or a range of it."""
        return b"".join([chunk async for chunk in await self.store.get(key, **span)])

    async def keys(self, prefix: str = "") -> set[str]:
        """List keys."""
        return {stat.key async for stat in self.store.list(prefix)}

    async def unfinished(self) -> list[str]:
        """Tell what is left of puts that did not end well: files here, uploads on the server."""
        data = self._data_folder
        folders = [data / "objects" / ".partial", data / "backup/objects/.partial", data / "spool"]
        files = [str(path) for folder in folders for path in folder.glob("*/*")]
        return files + (await self._uploads.unfinished() if self._uploads else [])


class Uploads:
    """The unfinished uploads of a server below a prefix."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    async def unfinished(self) -> list[str]:
        """List the keys of uploads that were begun and neither completed nor given up."""
        session = get_session()
        async with session.create_client(
            "s3",
            endpoint_url=self._server.endpoint,
            region_name=self._server.region,
            aws_access_key_id=self._server.access_key,
            aws_secret_access_key=self._server.secret_key,
        ) as client:
            answer = await client.list_multipart_uploads(Bucket=self._server.bucket, Prefix=self._prefix)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


def s3_url(server: S3Server, prefix: str) -> str:
    """Return the setting that names a part of the test bucket."""
    parts = urlsplit(server.endpoint)
    login = f"{server.access_key}:{server.secret_key}"
    return (
        f"s3+{parts.scheme}://{login}@{parts.netloc}/{server.bucket}?region={server.region}&prefix={prefix}"
    )


@asynccontextmanager
async def open_bench(
    kind: str, data_folder: Path, unique: str, server: Callable[[], S3Server]
) -> AsyncIterator[Bench]:
    """Open an empty store; afterwards remove what is on a shared server."""
    base, _, layers = kind.partition(", ")
    uploads = Uploads(server(), unique) if base == "s3" else None
    url = s3_url(server(), unique) if base == "s3" else f"{base}:"
    store = layered(make_store(url, data_folder=data_folder), layers, data_folder)
    await store.open()
    try:
        yield Bench(kind, store, data_folder, uploads)
        if base == "s3":
            for key in [stat.key async for stat in store.list()]:
                await store.delete(key)
    finally:
        await store.close()


def layered(store: ObjectStore, layers: str, data_folder: Path) -> ObjectStore:
    """Put layers over a store; contents are not compared with names, which are arbitrary in these tests."""
    if layers == "cached":
        return CachedStore(store, cache_bytes=64 * limits.MIB, keep_seconds=60, clock=SystemClock())
    if layers == "copied":
        return CopiedStore(store, make_store("folder:", data_folder=data_folder / "backup"))
    if not layers:
        return store
    forms = readable_forms(aes="enabled", xor="enabled" if "xor" in layers else "readonly")
    return EncodedStore(store, forms, data_folder / "spool", aes_key=AES_KEY, check_content=False)


def bytes_of(size_bytes: int, seed: str = "") -> bytes:
    """Return bytes in which every block differs, the same each time."""
    return hashlib.shake_128(f"{seed}{size_bytes}".encode()).digest(size_bytes)


async def pieces(data: bytes, step_bytes: int = 65_521) -> AsyncIterator[bytes]:
    """Yield bytes in pieces that fit no block size."""
    for start in range(0, len(data), step_bytes):
        yield data[start : start + step_bytes]


def subprocess_environment() -> Mapping[str, str]:
    """Return the environment for a process that imports the project and its tests."""
    root = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": root}
