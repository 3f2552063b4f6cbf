"""Room for so many things at once, of which no partition takes more than half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


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
