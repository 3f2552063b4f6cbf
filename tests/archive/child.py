"""A process that archives a fixed set of messages and can be killed at any moment.

    python -m tests.archive.child FOLDER objects|packs PORTION

Starts with the first message each time, as an agent does whose offsets were not committed; PORTION messages
are stored together, which may be others each time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from pipeline.archive.message import Message
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.objects.folder import FolderStore

CHILD_TOPIC = "child"
MESSAGES = 240


def batches(portion: int) -> list[list[Message]]:
    """Make the messages, the same each time, in portions."""
    made = [Message(CHILD_TOPIC, 0, n, 1_700_000_000_000 + n, None, b"%d" % n) for n in range(MESSAGES)]
    return [made[start : start + portion] for start in range(0, MESSAGES, portion)]


async def _text(blocks: Sequence[bytes]) -> list[str]:
    return ["text/plain"] * len(blocks)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(folder: Path, layout: str, portion: int) -> None:
    """Archive everything, a line of output a batch."""
    # Standard output is for the parent, which counts its lines.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    database = Database("sqlite:", folder)
    objects = FolderStore(folder / "objects")
    _say("opening")
    await database.open()
    await objects.open()
    alone = ArchiveWriter(objects, database, clock=SystemClock(), media_types=_text)
    packs = PackWriter(alone)
    for batch in batches(portion):
        _say("batch")
        await (packs if layout == "packs" else alone).store(batch)
    _say("done")
    await objects.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
