"""Hashes and size of a stream in one pass, and objects stored under what comes out.

The hash functions run in threads (hashlib lets go of the interpreter lock), two at a time, while the
next bytes arrive, so that hashing costs an upload little time of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline import limits
from pipeline.objects import sources
from pipeline.objects.port import Draft, ObjectStore, Stat
from pipeline.objects.threads import in_thread, settle


class Digest(msgspec.Struct, frozen=True):
    """What identifies a run of bytes; hashes in lower-case hex, empty where nobody asked for them."""

    size_bytes: int
    sha256: str
    md5: str = ""
    sha1: str = ""
    sha512: str = ""

    def hashes(self) -> dict[str, Any]:
        """Return the four hashes by the names events give them."""
        return {"sha512": self.sha512, "sha256": self.sha256, "sha1": self.sha1, "md5": self.md5}


class Hasher:
    """The four hashes over bytes given piece by piece.

    Two lanes of about the same cost: the ones with processor instructions beside the ones without.
    """

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512()
        self._size_bytes = 0
        self._running: tuple[asyncio.Future[None], ...] = ()

    def feed(self, data: bytes) -> None:
        """Hash the next bytes. Blocks."""
        self._size_bytes += len(data)
        self._feed_first(data)
        self._feed_second(data)

    async def update(self, data: bytes) -> None:
        """Hash the next bytes in threads; returns while that goes on, after the bytes before are done."""
        await self._settled()
        self._size_bytes += len(data)
        loop = asyncio.get_running_loop()
        self._running = (
            loop.run_in_executor(None, self._feed_first, data),
            loop.run_in_executor(None, self._feed_second, data),
        )

    async def finish(self) -> Digest:
        """Return the result when all bytes are hashed."""
        await self._settled()
        return self.digest()

    def digest(self) -> Digest:
        """Return the result over what `feed` was given."""
        return Digest(
            size_bytes=self._size_bytes,
            md5=self._md5.hexdigest(),
            sha1=self._sha1.hexdigest(),
            sha256=self._sha256.hexdigest(),
            sha512=self._sha512.hexdigest(),
        )

    async def _settled(self) -> None:
        running, self._running = self._running, ()
        await settle(*running)

    def _feed_first(self, data: bytes) -> None:
        self._md5.update(data)
        self._sha1.update(data)

    def _feed_second(self, data: bytes) -> None:
        self._sha512.update(data)
        self._sha256.update(data)


class HashingStream:
    """A stream that passes on its bytes and knows their digest at the end.

    Hand it to `ObjectStore.put` when the key is known beforehand; `store_stream` is for when it is not.
    """

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self._hasher = Hasher()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come; each is hashed while the reader works on it."""
        async for chunk in self._source:
            await self._hasher.update(chunk)
            yield chunk

    async def digest(self) -> Digest:
        """Return the digest of what was passed on so far."""
        return await self._hasher.finish()


def hash_bytes(data: bytes) -> Digest:
    """Return the digest of bytes. Blocks, about 4 µs a KiB."""
    hasher = Hasher()
    hasher.feed(data)
    return hasher.digest()


class Stored(NamedTuple):
    """Bytes that were just stored: durable, and still at hand."""

    digest: Digest
    stat: Stat
    file: Callable[[], AbstractAsyncContextManager[Path]]
    """Gives them as a local file that must not be changed, without reading them back from the store."""


async def store_stream(
    store: ObjectStore,
    source: sources.Source,
    key_of: Callable[[Digest], str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> tuple[Digest, Stat]:
    """Store bytes as `stored_stream` does, and let go of them."""
    async with stored_stream(store, source, key_of, metadata=metadata) as stored:
        return stored.digest, stored.stat


@asynccontextmanager
async def stored_stream(
    store: ObjectStore,
    source: sources.Source,
    key_of: Callable[[Digest], str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> AsyncIterator[Stored]:
    """Store bytes, a file or a stream under a key that depends on the bytes, read once and written once.

    `key_of` gets the digest when all bytes are there and returns the key; it may raise to refuse them.
    Whatever is raised on the way, by the source, `key_of` or the store, nothing remains. What is given is
    at hand until the block is left.

    Raises:
        TooLarge: There are more than `limits.OBJECT_MAX_BYTES`.
        NotFound: The source is a file that does not exist.
    """
    data = await sources.gather(source, limits.OBJECT_BATCH_BYTES)
    if isinstance(data, bytes):
        digest = await _hash_small(data)
        stat = await store.put(key_of(digest), data, metadata=metadata)
        yield Stored(digest, stat, partial(store.file, stat.key, content=data))
        return
    stream = HashingStream(data)
    async with store.draft() as draft:
        async for block in stream:
            await draft.write(block)
        digest = await stream.digest()
        stat = await draft.commit(key_of(digest), metadata=metadata)
        yield Stored(digest, stat, partial(_file_of, draft))


@asynccontextmanager
async def _file_of(draft: Draft) -> AsyncIterator[Path]:
    yield await draft.local()


async def _hash_small(data: bytes) -> Digest:
    if len(data) <= limits.HASH_INLINE_BYTES:
        return hash_bytes(data)
    return await in_thread(hash_bytes, data)
