"""Local copies of objects of a store that has no files of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.objects.drafts import FileDraft
from pipeline.objects.port import Download
from pipeline.objects.scratch import Scratch
from pipeline.objects.threads import Threads


@asynccontextmanager
async def spooled(download: Download, scratch: Scratch, threads: Threads) -> AsyncIterator[Path]:
    """Write a download to a scratch file, give its path, remove it on leaving."""
    copy = FileDraft(scratch, threads)
    try:
        await copy.write(b"")  # an empty object is a file too
        async for chunk in download:
            await copy.write(chunk)
        await copy.settled()
        yield copy.file.path
    finally:
        await copy.discard()
