"""A process that restores an archive and can be killed at any moment, also at an exact one.

    python -m tests.archive.restorer FOLDER ADDRESS TOPIC [before|after|between N]

The archive is in FOLDER, the destination a folder or host:port of a Kafka, the journal FOLDER/journal. It
kills itself (-9) right before its N-th append, right after it (arrived and not written down), or after a
part of it. A line of output follows each step that is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.restore import Options, Progress, Selection, restore
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.log.port import Log, NewRecord, Placed
from pipeline.objects.folder import FolderStore
from tests.archive.restoring import log_at, opened

WINDOW_ROWS = 25


class Dying:
    """A log that takes its process with it at an append; otherwise the one inside."""

    def __init__(self, inner: Log, moment: str, number: int) -> None:
        self._inner = inner
        self._moment = moment
        self._left = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append, or die."""
        self._left -= 1
        if self._left == 0 and self._moment == "between":
            await self._inner.append(records[: len(records) // 2])
        if self._left == 0 and self._moment != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        placed = await self._inner.append(records)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return placed


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _told(progress: Progress) -> None:
    _say(progress.stage)


async def main(folder: Path, address: str, topic: str, moment: str, number: int) -> None:
    """Restore and verify everything."""
    limits_archive.RESTORE_WINDOW_ROWS = WINDOW_ROWS
    database = Database("sqlite:", folder)
    objects = FolderStore(folder / "objects")
    await database.open()
    await objects.open()
    archive = Archive(objects, database, SystemClock())
    async with opened(log_at(address)) as log:
        options = Options(verify=True, partition="key", as_sent=True, journal=folder / "journal")
        dying: Any = Dying(log, moment, number)
        report = await restore(archive, dying, Selection((topic,)), options, progress=_told)
    _say("equal" if report.exit_status == 0 else f"unequal: {report}")
    await objects.close()
    await database.close()


if __name__ == "__main__":
    _, *given = sys.argv
    how, count = (given[3], int(given[4])) if len(given) > 3 else ("", 0)
    asyncio.run(main(Path(given[0]), given[1], given[2], how, count))
