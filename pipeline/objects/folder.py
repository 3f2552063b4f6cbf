"""An object store in a folder of this machine.

Keeps the contract of `pipeline.objects.port`: what was put is on disk, all of it or nothing, whatever
crashes when. `pipeline.objects.tree` says how and where. Objects are immutable, so `file` gives the stored
file itself. The same folder may be opened by several processes.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.objects import keys, ranges, sources
from pipeline.objects import metadata as labels
from pipeline.objects.drafts import FolderDraft, finish
from pipeline.objects.folder_download import FolderDownload
from pipeline.objects.port import Stat
from pipeline.objects.rounds import Rounds
from pipeline.objects.scratch_file import ScratchFile
from pipeline.objects.threads import Threads
from pipeline.objects.tree import Tree, stat_of


class FolderStore:
    """Objects as files below `root`.

    Args:
        root: Made when missing; its file system should keep extended attributes (for metadata).
    """

    def __init__(self, root: Path) -> None:
        self._tree = Tree(root)
        self._threads = Threads("object folder", limits.FOLDER_THREADS)
        self._rounds = Rounds(self._tree, self._threads)

    async def open(self) -> None:
        """Make the folder when missing and remove what crashed processes left unfinished."""
        self._threads.open()
        await self._threads.run(self._tree.open)

    async def close(self) -> None:
        """Wait for running work and let go of the folder; safe to repeat."""
        await self._threads.close()
        await asyncio.to_thread(self._tree.close)

    async def put(
        self,
        key: str,
        source: sources.Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object; see the port. Small ones that come together are stored together."""
        keys.check(key)
        checked = labels.check(metadata)
        data = await sources.gather(source, limits.OBJECT_BATCH_BYTES)
        if isinstance(data, bytes):
            return await self._rounds.put(key, data, only_if_absent, checked)
        async with self.draft() as draft:
            async for block in data:
                await draft.write(block)
            return await draft.commit(key, only_if_absent=only_if_absent, metadata=checked)

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[FolderDraft]:
        """Start an object whose key is not known yet; committing renames it, nothing is copied."""
        draft = FolderDraft(self._tree, self._threads)
        try:
            yield draft
        finally:
            await draft.discard()

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> FolderDownload:
        """Open an object or a range of it; a small one is read at once."""
        keys.check(key)
        ranges.check(key, first, last)
        download = FolderDownload(self._threads)
        await self._threads.run(download.open, self._tree, key, first, last)
        return download

    @asynccontextmanager
    async def file(self, key: str, *, content: bytes | None = None) -> AsyncIterator[Path]:
        """Give the place of the stored file itself; it must not be changed, and there may be none."""
        del content  # lies there already
        yield self._tree.path(key)

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when there is no object."""
        keys.check(key)
        return await self._threads.run(self._tree.stat, key)

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object durably; True when it was removed."""
        keys.check(key)
        return await self._threads.run(self._delete, key, older_than)

    def _delete(self, key: str, older_than: dt.datetime | None) -> bool:
        if older_than is not None:
            found = self._tree.stat(key)
            if found is None or found.modified >= older_than:
                return False
        return self._tree.delete(key)

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy an object with its metadata inside the kernel; as durable as `put`."""
        keys.check(source_key)
        keys.check(target_key)
        await self._threads.run(self._copy, source_key, target_key)

    def _copy(self, source_key: str, target_key: str) -> None:
        source = self._tree.open_object(source_key)
        if source is None:
            raise NotFound(f"copy {source_key}")
        file = ScratchFile(self._tree.scratch)
        try:
            stat = stat_of(source_key, source)
            file.copy_from(source, stat.size_bytes)
            finish(file, self._tree, target_key, False, stat.metadata)
        finally:
            os.close(source)
            file.remove()

    async def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix, without its metadata."""
        keys.check_prefix(prefix)
        walk = self._tree.walk(prefix)
        try:
            while batch := await self._threads.run(_next_batch, walk):
                for stat in batch:
                    yield stat
        finally:
            walk.close()


def _next_batch(walk: Iterator[Stat]) -> list[Stat]:
    return list(islice(walk, limits.OBJECT_LIST_BATCH))
