"""Two stores that hold the same objects: what was put is in both before anybody is told.

Lies under the archive when the setting `archive.backup` names a second store. The first store decides: who
may use a key, what there is, what is read. The second is written after it, and read when the first has
lost an object.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from pipeline import metrics_archive
from pipeline.errors import Conflict, NotFound
from pipeline.objects.port import Download, Draft, ObjectStore, Stat
from pipeline.objects.sources import Source
from pipeline.objects.versions import Versions, erase, list_versions

log = structlog.get_logger(__name__)


class CopiedStore:
    """A store whose objects lie in a second one too; keeps the contract of `pipeline.objects.port`.

    Args:
        first: Decides about keys and is read.
        second: Gets every object after it, and is read when the first has lost one.
    """

    def __init__(self, first: ObjectStore, second: ObjectStore) -> None:
        self.first = first
        self.second = second

    async def open(self) -> None:
        """Open both stores; safe to repeat."""
        await self.first.open()
        await self.second.open()

    async def close(self) -> None:
        """Close both stores; safe to repeat."""
        await self.first.close()
        await self.second.close()

    # --- writing ---

    async def put(
        self,
        key: str,
        source: Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object in both; when this returns, both hold it. See the port.

        A crash in between leaves it in the first store alone. Putting it again completes the pair, also
        when that ends in `Conflict`.
        """
        try:
            stored = await self.first.put(key, source, only_if_absent=only_if_absent, metadata=metadata)
        except Conflict:
            await self.complete(key)
            raise
        # True from here: the first store holds it, and nobody else can win this key.
        if isinstance(source, bytes | Path):
            await self.second.put(key, source, metadata=metadata)
        else:
            await self._copy_over(key)  # a stream is read once only
        return stored

    async def complete(self, key: str) -> None:
        """Store in the second store what the first holds, when it is not there."""
        held, copied = await self.first.stat(key), await self.second.stat(key)
        if held is not None and (copied is None or copied.size_bytes != held.size_bytes):
            await self._copy_over(key)

    async def _copy_over(self, key: str) -> None:
        download = await self.first.get(key)
        await self.second.put(key, download, metadata=download.stat.metadata)

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Draft]:
        """Start an object whose key is not known yet; see the port."""
        async with self.first.draft() as draft:
            yield _CopiedDraft(self, draft)

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object from both; True when one was removed.

        The second store goes first: a crash in between leaves an object that is still listed. With
        `older_than` the first store decides, and goes first.
        """
        if older_than is None:
            copied = await self.second.delete(key)
            return await self.first.delete(key) or copied
        removed = await self.first.delete(key, older_than=older_than)
        if removed:
            await self.second.delete(key)
        return removed

    async def erase(self, key: str) -> None:
        """Remove an object from both with all its versions, in the order of `delete`."""
        await erase(self.second, key)
        await erase(self.first, key)

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy within the first store and from there to the second; see the port."""
        try:
            await self.first.copy(source_key, target_key)
        except NotFound:
            download = await self._from_second(source_key)
            await self.first.put(target_key, download, metadata=download.stat.metadata)
        await self._copy_over(target_key)

    # --- reading ---

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Open an object or a range of it, from the second store when the first has lost it."""
        try:
            return await self.first.get(key, first=first, last=last)
        except NotFound:
            return await self._from_second(key, first=first, last=last)

    async def _from_second(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        download = await self.second.get(key, first=first, last=last)
        metrics_archive.BACKUP_READS.inc()
        log.warning("an object is lost, its backup is read", key=key)
        return download

    @asynccontextmanager
    async def file(self, key: str, *, content: bytes | None = None) -> AsyncIterator[Path]:
        """Give the object as a local file; see the port."""
        lost = content is None and await self.first.stat(key) is None
        async with (self.second if lost else self.first).file(key, content=content) as path:
            yield path

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when neither store has such an object."""
        return await self.first.stat(key) or await self.second.stat(key)

    def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield the objects of the first store; see the port. What it has lost is not among them."""
        return self.first.list(prefix)

    def versions(self, prefix: str = "") -> AsyncIterator[Versions]:
        """Yield the keys of the first store with the number of their versions there."""
        return list_versions(self.first, prefix)


class _CopiedDraft:
    """A draft of the first store that goes into both when it is committed."""

    def __init__(self, stores: CopiedStore, draft: Draft) -> None:
        self._stores = stores
        self._draft = draft

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        await self._draft.write(data)

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Make the bytes the object of a key in both stores; see the port."""
        try:
            stored = await self._draft.commit(key, only_if_absent=only_if_absent, metadata=metadata)
        except Conflict:
            await self._stores.complete(key)
            raise
        await self._stores.second.put(key, await self._draft.local(), metadata=metadata)
        return stored

    async def local(self) -> Path:
        """Give what was committed as a local file; see the port."""
        return await self._draft.local()


def each(store: ObjectStore) -> tuple[ObjectStore, ...]:
    """Give the stores a store consists of: both of a pair, any other one as it is."""
    return (store.first, store.second) if isinstance(store, CopiedStore) else (store,)
