"""An archive in a folder, and what opens it with a Kafka in the processes of a restore, or kills these.

    python -m tests.archive.sharing FOLDER ADDRESS TOPIC

restores it in shares and can be killed at any moment; the journal is FOLDER/journal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.restore import Options, Selection, restore
from pipeline.cli.loop import run_loop
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.log.port import Log
from pipeline.objects.folder import FolderStore
from tests.archive.restorer import Dying
from tests.archive.restoring import log_at, opened

T = TypeVar("T")
CORES = 3
SHARE_MESSAGES = 40


def small() -> None:
    """Make many windows and shares of few messages."""
    limits_archive.RESTORE_WINDOW_ROWS = 15
    limits_archive.RESTORE_SHARE_MESSAGES = SHARE_MESSAGES
    os.sched_getaffinity = lambda _: set(range(CORES))  # type: ignore[assignment,unused-ignore]


@asynccontextmanager
async def folder_archive(folder: Path) -> AsyncIterator[Archive]:
    """Open the archive in a folder."""
    database, objects = Database("sqlite:", folder), FolderStore(folder / "objects")
    await database.open()
    await objects.open()
    try:
        yield Archive(objects, database, SystemClock())
    finally:
        await objects.close()
        await database.close()


@dataclass(frozen=True)
class Opened:
    """Opens an archive and a Kafka; its process dies at an append where a moment for that is given."""

    folder: Path
    address: str
    moment: str = ""
    number: int = 0

    def __call__(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        """Open both, run `work` and close both."""
        small()
        return run_loop(self._run(work))

    async def _run(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        async with folder_archive(self.folder) as archive, opened(log_at(self.address)) as log:
            dying: Any = Dying(log, self.moment, self.number)
            return await work(archive, dying)


async def _main(folder: Path, address: str, topic: str) -> None:
    small()
    async with folder_archive(folder) as archive, opened(log_at(address)) as log:
        options = Options(as_sent=True, journal=folder / "journal")
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        selection, elsewhere = Selection((topic,)), Opened(folder, address)
        await restore(archive, log, selection, options, progress=_told, elsewhere=elsewhere)


def _told(_: object) -> None:
    sys.stdout.write("sent\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run_loop(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
