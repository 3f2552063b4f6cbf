"""An object store in the memory of one process: for tests and for trying things out.

Keeps the contract of `pipeline.objects.port` except durability. Everything is gone with the process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from pipeline import limits
from pipeline.clock import Clock, SystemClock
from pipeline.errors import Conflict, NotFound
from pipeline.objects import keys, ranges, sources
from pipeline.objects import metadata as labels
from pipeline.objects.port import Stat
from pipeline.objects.scratch import Scratch
from pipeline.objects.spool import spooled
from pipeline.objects.threads import Threads


class MemoryStore:
    """Objects in a dictionary.

    Args:
        spool: Folder for the local copies `file` gives.
        clock: Gives the time an object was last stored.
    """

    def __init__(self, spool: Path, clock: Clock | None = None) -> None:
        self._objects: dict[str, tuple[Stat, bytes]] = {}
        self._scratch = Scratch(spool)
        self._threads = Threads("memory store", 1)
        self._clock = clock or SystemClock()

    async def open(self) -> None:
        """Be ready."""
        self._threads.open()
        await self._threads.run(self._scratch.open)

    async def close(self) -> None:
        """Remove the local copies; the objects stay while the store does. Safe to repeat."""
        await self._threads.close()
        await asyncio.to_thread(self._scratch.close)

    async def put(
        self,
        key: str,
        source: sources.Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object; see the port."""
        keys.check(key)
        checked = labels.check(metadata)
        blocks = sources.blocks(source, limits.OBJECT_BATCH_BYTES)
        data = b"".join([block async for block in blocks])
        if only_if_absent and key in self._objects:
            raise Conflict(f"store {key}", "there is one already")
        stat = Stat(key, len(data), self._clock.now(), checked)
        self._objects[key] = stat, data
        return stat

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[MemoryDraft]:
        """Start an object whose key is not known yet."""
        async with AsyncExitStack() as files:
            yield MemoryDraft(self, files)

    def copied(self, pieces: Iterable[bytes]) -> AbstractAsyncContextManager[Path]:
        """Give bytes as a local file."""
        return spooled(pieces, self._scratch, self._threads)

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> MemoryDownload:
        """Open an object or a range of it."""
        keys.check(key)
        ranges.check(key, first, last)
        if key not in self._objects:
            raise NotFound(f"read {key}")
        stat, data = self._objects[key]
        cut = ranges.cut(key, first, last, stat.size_bytes)
        return MemoryDownload(stat, cut, data)

    @asynccontextmanager
    async def file(self, key: str, *, content: bytes | None = None) -> AsyncIterator[Path]:
        """Give a local copy."""
        source = await self.get(key) if content is None else (content,)
        async with spooled(source, self._scratch, self._threads) as path:
            yield path

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when there is no object."""
        found = self._objects.get(keys.check(key))
        return found[0] if found else None

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object; True when it was removed."""
        found = self._objects.get(keys.check(key))
        if found is None or (older_than and found[0].modified >= older_than):
            return False
        del self._objects[key]
        return True

    async def copy(self, source_key: str, target_key: str) -> None:
        """Store the same bytes and metadata under another key."""
        keys.check(target_key)
        if keys.check(source_key) not in self._objects:
            raise NotFound(f"copy {source_key}")
        stat, data = self._objects[source_key]
        copied = msgspec.structs.replace(stat, key=target_key, modified=self._clock.now())
        self._objects[target_key] = copied, data

    async def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix, without its metadata."""
        keys.check_prefix(prefix)
        for key, (stat, _) in tuple(self._objects.items()):
            if key.startswith(prefix):
                yield msgspec.structs.replace(stat, metadata={})


class MemoryDraft:
    """Bytes that wait for their key."""

    def __init__(self, store: MemoryStore, files: AsyncExitStack) -> None:
        self._store = store
        self._files = files
        self._pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._pieces.append(data)

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Make the bytes the object of a key."""
        data = b"".join(self._pieces)
        return await self._store.put(key, data, only_if_absent=only_if_absent, metadata=metadata)

    async def local(self) -> Path:
        """Give the bytes as a local file, which goes with the draft."""
        return await self._files.enter_async_context(self._store.copied(self._pieces))


class MemoryDownload:
    """The bytes of an object as they were when it was opened."""

    def __init__(self, stat: Stat, cut: ranges.Cut, data: bytes) -> None:
        self.stat = stat
        self.first, self.length_bytes = cut
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        end = self.first + self.length_bytes
        for start in range(self.first, end, limits.CHUNK_BYTES):
            yield self._data[start : min(start + limits.CHUNK_BYTES, end)]
