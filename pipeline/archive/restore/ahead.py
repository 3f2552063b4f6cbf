"""Work done ahead of who uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def ahead(source: AsyncGenerator[T, None], depth: int) -> AsyncGenerator[T, None]:
    """Give what a source gives, and let it go on meanwhile until `depth` things wait.

    What the source raises is raised here, behind all it gave before. It ends when this does.
    """
    queue: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue(depth)

    async def fill() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await queue.put((item,))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is for who uses the items
            await queue.put(error)
        else:
            await queue.put(None)

    filling = asyncio.create_task(fill())
    try:
        while (given := await queue.get()) is not None:
            if isinstance(given, Exception):
                raise given
            yield given[0]
    finally:
        filling.cancel()
        await asyncio.wait([filling])
