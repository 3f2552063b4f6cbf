"""Local copies of objects of a store that has no files of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.objects.drafts import FileDraft
from pipeline.objects.port import Download
from pipeline.objects.scratch import Scratch
from pipeline.objects.threads import Threads


@asynccontextmanager
async def spooled(
    content: Download | Iterable[bytes], scratch: Scratch, threads: Threads
) -> AsyncIterator[Path]:
    """Write a download, or pieces at hand, to a scratch file; give its path, remove it on leaving."""
    copy = FileDraft(scratch, threads)
    try:
        if isinstance(content, Iterable):
            for piece in content:
                await copy.write(piece)
        else:
            async for chunk in content:
                await copy.write(chunk)
        yield await copy.local()
    finally:
        await copy.discard()
