"""The engine: one open folder, shared by everybody in this process who uses it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import Conflict
from pipeline.log.embedded.bell import Bell
from pipeline.log.embedded.contents import Contents
from pipeline.log.embedded.disk import Disk, translate
from pipeline.log.embedded.keeper import Keeper
from pipeline.log.embedded.recovery import recover
from pipeline.log.embedded.request import AnyRequest
from pipeline.log.embedded.tail import Tail
from pipeline.log.embedded.writer import Writer, closed
from pipeline.log.leftovers import Leftovers
from pipeline.log.port import Fetched, TopicPartition
from pipeline.log.room import Room

_READ_THREADS = 4
T = TypeVar("T")


class Engine:
    """Everything behind an embedded log. Made open, by `acquire`; closed by the last `release`."""

    def __init__(self, folder: Path, clock: Clock, disk: Disk, entropy: Callable[[int], bytes]) -> None:
        """Take the folder, bring it in order and start the threads; blocks.

        Raises:
            Conflict: Another process has the folder.
            Damaged: The folder is not as it was written.
            Unavailable: The disk does not answer.
            StorageFull: There is no room to start.
        """
        self.folder = folder
        self.clock = clock
        self.bell = Bell()
        self._disk = disk
        self._lock_file = -1
        self.contents = Contents(folder / "topics")
        self.leftovers = Leftovers(limits.LOG_LEFTOVER_BYTES)
        self.is_open = False
        try:
            disk.make_folder(self.contents.folder)
            self._lock_file = _take_folder(folder)
            self._start(entropy)
        except OSError as error:
            self._let_go()
            raise translate(f"open the log in {folder}", error) from error
        except BaseException:
            self._let_go()
            raise

    def _start(self, entropy: Callable[[int], bytes]) -> None:
        tail = Tail(limits.LOG_TAIL_BYTES)
        recovered = recover(self._disk, self.folder, self.contents, tail)

        def make_secret() -> int:
            return int.from_bytes(entropy(8))

        self._keeper = Keeper(self._disk, self.folder, self.contents, self.clock, make_secret)
        journal = self._keeper.begin_journal(recovered.next_journal, recovered.next_sequence)
        try:
            self._keeper.checkpoint()
        except BaseException:
            journal.close()
            raise
        self._writer = Writer(self.contents, tail, self.bell, journal, self._keeper.next_journal)
        self._readers = ThreadPoolExecutor(_READ_THREADS, "log-reader")
        self._room = Room(limits.LOG_PENDING_BYTES)
        self._writer.start()
        self._keeper.start()
        self.is_open = True

    def close(self) -> None:
        """Write what is pending, move it into the segments, and let the folder go; blocks.

        When the disk does not take it any more, the journal keeps it until the next start.
        """
        self.is_open = False
        self._writer.stop()
        self._keeper.stop()
        self._keeper.last_checkpoint()
        self._readers.shutdown()
        for loop in self.bell.loops():
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.bell.ring_here, loop, None)
        self._let_go()

    def _let_go(self) -> None:
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    # --- what handles ask for ---

    async def perform(self, request: AnyRequest) -> None:
        """Wait until a change is durable; its result is in its future.

        Raises:
            HeadraceError: It is not durable; says why.
        """
        await self._room.enter(request.size_bytes)
        try:
            self._check_open()
            self._writer.submit(request)
            await request.future
        finally:
            self._room.leave(request.size_bytes)

    async def fetch(self, place: TopicPartition, offset: int, max_records: int, max_bytes: int) -> Fetched:
        """Return records from `offset` on, at once; none when it is at the end.

        Raises:
            NotFound: There is no such partition.
            Damaged: What is on disk is not what was written.
        """
        self._check_open()
        partition = self.contents.partition(place)
        found = partition.read_memory(offset, max_records, max_bytes)
        if found is not None:
            return found
        offset = max(offset, partition.bounds().start)
        kept = self.leftovers.take(place, offset, max_records)
        if kept is not None:
            return kept
        wanted_bytes = min(max_bytes, limits.LOG_READ_AHEAD_BYTES)
        read = await self._in_thread(partition.read_disk, offset, wanted_bytes)
        return self.leftovers.split(place, read, max_records)

    async def wait(self, positions: Mapping[TopicPartition, int], timeout_seconds: float) -> bool:
        """Wait until one of the partitions has a record at or after its position; False on time-out.

        Raises:
            NotFound: There is no such partition.
            Unavailable: The log is closed, also while waiting.
        """
        self._check_open()
        watched = [(self.contents.partition(place), offset) for place, offset in positions.items()]

        def ready() -> bool:
            self._check_open()
            return any(partition.end > offset for partition, offset in watched)

        return await self.bell.wait(positions, ready, timeout_seconds)

    async def tidy(self) -> None:
        """Apply retention, and compact all that is not compacted yet."""
        self._check_open()
        try:
            await self._in_thread(self._keeper.tidy_now)
        except OSError as error:
            raise translate(f"tidy the log in {self.folder}", error) from error

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

    def _check_open(self) -> None:
        if not self.is_open:
            raise closed()


# --- one engine a folder and process ---

_engines: dict[Path, tuple[Engine, int]] = {}
_engines_lock = threading.Lock()


def acquire(folder: Path, clock: Clock, disk: Disk, entropy: Callable[[int], bytes]) -> Engine:
    """Return the open engine of a folder, opening it for its first user; blocks.

    Raises:
        HeadraceError: As `Engine`.
    """
    folder = folder.resolve()
    with _engines_lock:
        engine, users = _engines.get(folder, (None, 0))
        if engine is None:
            engine = Engine(folder, clock, disk, entropy)
        _engines[folder] = (engine, users + 1)
        return engine


def release(engine: Engine) -> None:
    """Give up an engine; the last user closes it; blocks."""
    with _engines_lock:
        _, users = _engines[engine.folder]
        if users > 1:
            _engines[engine.folder] = (engine, users - 1)
            return
        del _engines[engine.folder]
        engine.close()


def _take_folder(folder: Path) -> int:
    """Lock the folder for this process and return the file that holds the lock.

    A record lock (fcntl), not flock: the latter would be inherited by forked children, and an orphan of
    a killed process would keep the folder.
    """
    path = folder / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(
            f"open the log in {folder}",
            f"process {holder} has it open, and only one process may",
            "use that process, or stop it first",
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError:
        pass  # on a full disk the lock holds all the same; only the number in a message is missing
    return descriptor
