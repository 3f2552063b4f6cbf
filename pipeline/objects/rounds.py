"""Small objects of a folder, stored together.

Puts that arrive while others are being written form the next round: one trip to a thread, and, when they
are many, one flush of the file system for all their bytes and one for all their names in place of two for
each.
Every put is as durable when it returns as if it had been alone, and fails alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Mapping
from typing import Final

from pipeline import limits
from pipeline.errors import HeadraceError
from pipeline.objects.faults import file_faults
from pipeline.objects.port import Stat
from pipeline.objects.scratch_file import ScratchFile
from pipeline.objects.threads import Threads, ended
from pipeline.objects.tree import Tree, modified, write_metadata

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Put:
    """One small object on its way."""

    def __init__(self, key: str, data: bytes, only_if_absent: bool, metadata: Mapping[str, str]) -> None:
        self.key = key
        self.data = data
        self.only_if_absent = only_if_absent
        self.metadata = metadata
        self.stored: asyncio.Future[Stat] = asyncio.get_running_loop().create_future()
        self.stat: Stat | None = None
        self.error: HeadraceError | None = None
        self.file: ScratchFile | None = None

    def settle(self) -> None:
        """Tell the caller, who may have left."""
        if self.stored.done():
            return
        if self.stat is not None and self.error is None:
            self.stored.set_result(self.stat)
        elif self.error is not None:
            self.stored.set_exception(self.error)


class Rounds:
    """Stores small objects below a tree, as many together as have come meanwhile.

    Args:
        tree: Where they go.
        threads: Where the rounds run.
    """

    def __init__(self, tree: Tree, threads: Threads) -> None:
        self._tree = tree
        self._threads = threads
        self._waiting: list[_Put] = []
        self._under_way = 0

    async def put(self, key: str, data: bytes, only_if_absent: bool, metadata: Mapping[str, str]) -> Stat:
        """Store an object durably; see the port. When cancelled, still waits for its end."""
        put = _Put(key, data, only_if_absent, metadata)
        self._waiting.append(put)
        if len(self._waiting) == 1:
            # Not at once: whoever stores several calls this several times within one turn of the loop.
            asyncio.get_running_loop().call_soon(self._begin)
        return await ended(put.stored)

    def _begin(self) -> None:
        while self._waiting and self._under_way < limits.FOLDER_ROUNDS:
            puts = self._waiting[: limits.FOLDER_ROUND_OBJECTS]
            del self._waiting[: limits.FOLDER_ROUND_OBJECTS]
            try:
                running = self._threads.start(self._store, puts)
            except HeadraceError as error:
                for put in puts:
                    put.error = error
                    put.settle()
                continue
            self._under_way += 1
            running.add_done_callback(lambda done, puts=puts: self._finish(done, puts))  # type: ignore[misc]

    def _finish(self, running: asyncio.Future[None], puts: list[_Put]) -> None:
        self._under_way -= 1
        failed = running.exception()
        for put in puts:
            if failed is not None and not put.stored.done():
                put.stored.set_exception(failed)
            put.settle()
        self._begin()

    # --- in a thread ---

    def _store(self, puts: list[_Put]) -> None:
        written = [put for put in puts if self._attempt(put, self._write)]
        flushed = self._flush(written)
        # The bytes are on disk from here on; a crash leaves them unfinished or published, never torn.
        named = [put for put in flushed if self._attempt(put, self._publish)]
        self._flush_names(flushed, every_name=len(named) == len(flushed))
        # The names are on disk from here on; only now anybody is told, of success or of conflict.
        for put in puts:
            if put.file is not None:
                put.file.remove()

    def _attempt(self, put: _Put, step: Callable[[_Put], None]) -> bool:
        try:
            step(put)
        except HeadraceError as error:
            put.error = error
        return put.error is None

    def _write(self, put: _Put) -> None:
        put.file = ScratchFile(self._tree.scratch)
        put.file.write(put.data)
        with file_faults(f"store {put.key}"):
            write_metadata(put.file.descriptor, put.metadata)
            found = os.fstat(put.file.descriptor)
        put.stat = Stat(put.key, found.st_size, modified(found), put.metadata)

    def _flush(self, puts: list[_Put]) -> list[_Put]:
        """Bring the bytes of all to disk; one by one when they are few, or to find whose write failed."""
        if len(puts) >= limits.FOLDER_SYNC_TOGETHER and self._sync():
            return puts
        return [put for put in puts if self._attempt(put, self._flush_one)]

    def _flush_one(self, put: _Put) -> None:
        if put.file is not None:
            put.file.flush()

    def _publish(self, put: _Put) -> None:
        if put.file is not None:
            put.file.close()
            self._tree.publish(put.file.name, put.key, only_if_absent=put.only_if_absent, durably=False)
            put.file.moved()

    def _flush_names(self, puts: list[_Put], *, every_name: bool) -> None:
        if every_name and len(puts) >= limits.FOLDER_SYNC_TOGETHER and self._sync():
            return
        for put in puts:
            self._attempt(put, self._flush_name)

    def _flush_name(self, put: _Put) -> None:
        self._tree.flush_folder_of(put.key)

    def _sync(self) -> bool:
        """Bring everything of the file system to disk; False when the system says that something failed."""
        return bool(_libc.syncfs(self._tree.descriptor) == 0)
