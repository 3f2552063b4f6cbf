"""Files read and written from the event loop without holding it up."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pipeline import limits


async def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""

    def hashed() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(hashed)


@asynccontextmanager
async def opened(path: Path, mode: str) -> AsyncIterator[BinaryIO]:
    """Open a file until the block is left, also when the caller is cancelled meanwhile."""
    opening = asyncio.create_task(asyncio.to_thread(path.open, mode))
    try:
        file = cast(BinaryIO, await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: done.exception() or done.result().close())
        raise
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


async def chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield an open file piece by piece."""
    while chunk := await asyncio.to_thread(file.read, limits.CHUNK_BYTES):
        yield chunk


async def write(path: Path, begin: int, content: AsyncIterable[bytes]) -> int:
    """Write what comes from `begin` on and cut what was behind it; return where it ends."""
    async with opened(path, "r+b" if begin else "wb") as file:
        await asyncio.to_thread(file.seek, begin)
        end = begin
        async for chunk in content:
            end += await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.truncate, end)
        return end
