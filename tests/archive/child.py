"""A process that archives a fixed set of messages and can be killed at any moment.

    python -m tests.archive.child FOLDER

Starts with the first batch each time, as an agent does whose offsets were not committed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from pipeline.archive.message import Message
from pipeline.archive.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.objects.folder import FolderStore

CHILD_TOPIC = "child"
BATCHES = 12
BATCH_MESSAGES = 20


def batches() -> list[list[Message]]:
    """Make the messages, the same each time."""
    return [
        [
            Message(CHILD_TOPIC, 0, batch * BATCH_MESSAGES + n, 1_700_000_000_000 + n, None, b"%d" % n)
            for n in range(BATCH_MESSAGES)
        ]
        for batch in range(BATCHES)
    ]


async def _text(blocks: Sequence[bytes]) -> list[str]:
    return ["text/plain"] * len(blocks)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(folder: Path) -> None:
    """Archive everything, a line of output a batch."""
    # Standard output is for the parent, which counts its lines.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    database = Database("sqlite:", folder)
    objects = FolderStore(folder / "objects")
    _say("opening")
    await database.open()
    await objects.open()
    writer = ArchiveWriter(objects, database, clock=SystemClock(), media_types=_text)
    for batch in batches():
        _say("batch")
        await writer.store(batch)
    _say("done")
    await objects.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
