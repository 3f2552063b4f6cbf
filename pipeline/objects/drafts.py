"""Objects being written whose key is known only at their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.objects import keys
from pipeline.objects import metadata as labels
from pipeline.objects.faults import file_faults
from pipeline.objects.port import ObjectStore, Stat
from pipeline.objects.scratch import Scratch
from pipeline.objects.scratch_file import ScratchFile
from pipeline.objects.threads import Threads, settle
from pipeline.objects.tree import Tree, modified, write_metadata


class FileDraft:
    """Bytes that go to a scratch file while the next ones are awaited."""

    def __init__(self, scratch: Scratch, threads: Threads) -> None:
        self._threads = threads
        self._writing: asyncio.Future[None] | None = None
        self.file = ScratchFile(scratch)

    async def write(self, data: bytes) -> None:
        """Append bytes; returns while they are being written, after the ones before them were."""
        await self.settled()
        self._writing = self._threads.start(self.file.write, data)

    async def settled(self) -> None:
        """Return when all bytes are written; raises what writing them raised."""
        if self._writing is not None:
            # When cancelled here `discard` still finds the write under way and waits for it.
            await asyncio.shield(self._writing)
            self._writing = None

    async def local(self) -> Path:
        """Give the file with the bytes, an empty one when there are none."""
        await self.settled()
        if not self.file.made:
            await self._threads.run(self.file.write, b"")
        return self.file.path

    async def discard(self) -> None:
        """Remove what was not committed; safe to repeat and after a commit."""
        if self._writing is not None:
            await settle(self._writing)
        if self._threads.is_open:
            await self._threads.run(self.file.remove)
        else:
            self.file.remove()


class FolderDraft(FileDraft):
    """A draft that becomes an object of the same folder by a rename."""

    def __init__(self, tree: Tree, threads: Threads) -> None:
        super().__init__(tree.scratch, threads)
        self._tree = tree
        self._key = ""

    async def local(self) -> Path:
        """Give the place of the stored file itself."""
        return self._tree.path(self._key)

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Make the bytes the object of a key; see the port."""
        keys.check(key)
        checked = labels.check(metadata)
        await self.settled()
        self._key = key
        return await self._threads.run(finish, self.file, self._tree, key, only_if_absent, checked)


def finish(
    file: ScratchFile, tree: Tree, key: str, only_if_absent: bool, metadata: Mapping[str, str]
) -> Stat:
    """Flush a scratch file of a tree and publish it under a key. Blocks."""
    with file_faults(f"store {key}"):
        write_metadata(file.descriptor, metadata)
        found = file.flush()
    # The bytes are on disk from here on; a crash leaves them unfinished or published, never torn.
    file.close()
    tree.publish(file.name, key, only_if_absent=only_if_absent)
    file.moved()
    return Stat(key, found.st_size, modified(found), metadata)


class SpooledDraft(FileDraft):
    """A draft on local disk that is put into another store when its key is known."""

    def __init__(self, store: ObjectStore, scratch: Scratch, threads: Threads) -> None:
        super().__init__(scratch, threads)
        self._store = store

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Put the spooled bytes under a key; see the port."""
        await self.settled()
        source = self.file.path if self.file.made else b""
        return await self._store.put(key, source, only_if_absent=only_if_absent, metadata=metadata)


@asynccontextmanager
async def spooled_draft(
    store: ObjectStore, scratch: Scratch, threads: Threads
) -> AsyncIterator[SpooledDraft]:
    """Give a draft of a store that takes whole objects; what is not committed is discarded."""
    draft = SpooledDraft(store, scratch, threads)
    try:
        yield draft
    finally:
        await draft.discard()
