"""Reading an object of a folder store."""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncIterator

from pipeline import limits
from pipeline.errors import BadInput, Damaged, NotFound
from pipeline.objects import ranges
from pipeline.objects.faults import file_faults
from pipeline.objects.port import Stat
from pipeline.objects.sources import read_at
from pipeline.objects.threads import Threads
from pipeline.objects.tree import Tree, stat_of


class FolderDownload:
    """An object or a range of it, read from the file that was there when it was opened.

    Replacing or deleting the object meanwhile does not change what is delivered. The file is closed at
    the end of reading, or when the download is dropped.
    """

    stat: Stat
    first: int
    length_bytes: int

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._small: bytes | None = None
        self._descriptor = -1
        self._close: weakref.finalize[[int], FolderDownload] | None = None

    def open(self, tree: Tree, key: str, first: int, last: int | None) -> None:
        """Open the object, and read it when it is small. Blocks.

        Raises:
            NotFound: There is none.
            BadInput: `first` lies behind the end.
        """
        descriptor = tree.open_object(key)
        if descriptor is None:
            raise NotFound(f"read {key}")
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self.stat = stat_of(key, descriptor)
        self.first, self.length_bytes = ranges.cut(key, first, last, self.stat.size_bytes)
        if self.length_bytes <= limits.CHUNK_BYTES:
            self._small = b"".join(self._read(0))
            self._close()

    def _read(self, done_bytes: int) -> list[bytes]:
        """Read the next chunks, one batch together. Blocks."""
        batch_bytes = min(limits.OBJECT_BATCH_BYTES, self.length_bytes - done_bytes)
        chunks = []
        with file_faults(f"read {self.stat.key}"):
            for start in range(0, batch_bytes, limits.CHUNK_BYTES):
                wanted_bytes = min(limits.CHUNK_BYTES, batch_bytes - start)
                chunk = read_at(self._descriptor, self.first + done_bytes + start, wanted_bytes)
                if len(chunk) != wanted_bytes:
                    raise Damaged(f"read {self.stat.key}", "its file is shorter than when it was opened")
                chunks.append(chunk)
        return chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; once."""
        if self._small is not None:
            if self._small:
                yield self._small
            return
        if self._close is None or not self._close.alive:
            raise BadInput(f"read {self.stat.key}", "a download can be read once")
        try:
            done_bytes = 0
            while done_bytes < self.length_bytes:
                for chunk in await self._threads.run(self._read, done_bytes):
                    done_bytes += len(chunk)
                    yield chunk
        finally:
            self._close()
