"""Streams kept in memory: an object store over another that answers what is asked for often by itself.

Contract: dispatcher section 18, except that a stream is known here by its whole key, source and label
included. What is stored, copied or deleted through this store is never answered from before; what other
processes delete may be answered until it was kept for long enough.
"""

from __future__ import annotations

import datetime as dt
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import NamedTuple

from cachetools import TTLCache

from pipeline import limits, metrics
from pipeline.clock import Clock
from pipeline.objects import keys, ranges
from pipeline.objects.memory import MemoryDownload
from pipeline.objects.operations import operation
from pipeline.objects.port import Download, Draft, ObjectStore, Stat
from pipeline.objects.sources import Source
from pipeline.objects.threads import in_thread


class CachedStore:
    """Whole streams of moderate size in memory, over a store that has them all.

    Args:
        inner: The store.
        cache_bytes: Memory for streams; one takes at most this over `limits.CACHE_OBJECT_SHARE`.
        keep_seconds: How long one is answered from memory.
        clock: Measures that.
    """

    def __init__(self, inner: ObjectStore, *, cache_bytes: int, keep_seconds: float, clock: Clock) -> None:
        self._inner = inner
        self._object_max_bytes = cache_bytes // limits.CACHE_OBJECT_SHARE
        self._kept: TTLCache[str, _Kept, float] = TTLCache(
            cache_bytes, keep_seconds, clock.monotonic, _memory_bytes
        )
        self._filling: weakref.WeakValueDictionary[str, _Filling] = weakref.WeakValueDictionary()
        """One reader a stream collects it; it counts as long as somebody holds the download."""

    async def open(self) -> None:
        """Open the store below."""
        await self._inner.open()

    async def close(self) -> None:
        """Forget everything and close the store below; safe to repeat."""
        self._kept.clear()
        await self._inner.close()

    # --- reading ---

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Open an object or a range of it; a stream read whole is kept for the next reader."""
        if not keys.is_stream(key):
            return await self._inner.get(key, first=first, last=last)
        ranges.check(key, first, last)
        with operation("cache-fetch"):
            kept = self._look_up(key)
        if kept is not None:
            return MemoryDownload(kept.stat, ranges.cut(key, first, last, kept.stat.size_bytes), kept.data)
        with operation("cache-fetch-miss"):
            if first == 0 and key not in self._filling and len(self._filling) < limits.CACHE_FILLS_AT_ONCE:
                return await self._get_and_fill(key, last)
            return await self._inner.get(key, first=first, last=last)

    def _look_up(self, key: str) -> _Kept | None:
        metrics.HUB_CACHE_LOOKUPS.inc()
        kept = self._kept.get(key)
        if kept is not None:
            metrics.HUB_CACHE_HITS.inc()
        return kept

    async def _get_and_fill(self, key: str, last: int | None) -> Download:
        # Noted before it is opened: a change from here on makes what will have been read worthless.
        filling = self._filling[key] = _Filling()
        download = await self._inner.get(key, last=last)
        size_bytes = download.stat.size_bytes
        if download.length_bytes != size_bytes or size_bytes > self._object_max_bytes:
            return download

        def keep(data: bytes) -> None:
            if self._filling.get(key) is filling:
                self._kept[key] = _Kept(download.stat, data)

        return _Collecting(download, keep)

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when there is no object."""
        kept = self._look_up(key) if keys.is_stream(key) else None
        return kept.stat if kept else await self._inner.stat(key)

    def file(self, key: str, *, content: bytes | None = None) -> AbstractAsyncContextManager[Path]:
        """Give the object as a local file; see the port."""
        return self._inner.file(key, content=content)

    def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix; see the port."""
        return self._inner.list(prefix)

    # --- writing ---

    async def put(
        self,
        key: str,
        source: Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object; see the port."""
        with self._changing(key):
            return await self._inner.put(key, source, only_if_absent=only_if_absent, metadata=metadata)

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Draft]:
        """Start an object whose key is not known yet; see the port."""
        async with self._inner.draft() as draft:
            yield _CachedDraft(draft, self._changing)

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object; True when it was removed. What is in memory decides nothing."""
        with self._changing(key):
            return await self._inner.delete(key, older_than=older_than)

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy within the store; see the port."""
        with self._changing(target_key):
            await self._inner.copy(source_key, target_key)

    @contextmanager
    def _changing(self, key: str) -> Iterator[None]:
        """Forget a stream before it changes, and again when it has: somebody may have read meanwhile."""
        self._forget(key)
        try:
            yield
        finally:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._kept.pop(key, None)
        self._filling.pop(key, None)


class _Kept(NamedTuple):
    stat: Stat
    data: bytes


class _Filling:
    """Somebody who reads a stream to keep it."""


class _Collecting:
    """A download that hands over the whole content when it was read to its end."""

    def __init__(self, download: Download, keep: Callable[[bytes], None]) -> None:
        self.stat = download.stat
        self.first = download.first
        self.length_bytes = download.length_bytes
        self._download = download
        self._keep = keep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: list[bytes] = []
        chunks = aiter(self._download)
        try:
            async for chunk in chunks:
                pieces.append(chunk)
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        self._keep(pieces[0] if len(pieces) == 1 else await in_thread(b"".join, pieces))


class _CachedDraft:
    """A draft of the store below whose key is forgotten when it is committed."""

    def __init__(self, draft: Draft, changing: Callable[[str], AbstractContextManager[None]]) -> None:
        self._draft = draft
        self._changing = changing

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        await self._draft.write(data)

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Make the bytes the object of a key; see the port."""
        with self._changing(key):
            return await self._draft.commit(key, only_if_absent=only_if_absent, metadata=metadata)

    async def local(self) -> Path:
        """Give what was committed as a local file; see the port."""
        return await self._draft.local()


def _memory_bytes(kept: _Kept) -> int:
    return len(kept.data) + limits.CACHE_ENTRY_BYTES
