"""So many things at once and no more, and of one partition no more than half of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


class Slots:
    """Lets so many in at once, and of each owner half as many: one that hangs leaves room for the others.

    Args:
        count: How many at once.
    """

    def __init__(self, count: int) -> None:
        self._share = max(1, count // 2)
        self._all = asyncio.Semaphore(count)
        self._own: dict[Hashable, asyncio.Semaphore] = {}
        self._inside: dict[Hashable, int] = {}

    @asynccontextmanager
    async def one(self, owner: Hashable) -> AsyncIterator[None]:
        """Wait for a slot, and hold it within the block."""
        own = self._own.setdefault(owner, asyncio.Semaphore(self._share))
        self._inside[owner] = self._inside.get(owner, 0) + 1
        try:
            async with own, self._all:
                yield
        finally:
            self._inside[owner] -= 1
            if not self._inside[owner]:
                del self._inside[owner], self._own[owner]


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], most: int) -> None:
    """Do work on each item, `most` of them at once; the first failure stops the others and is raised."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
