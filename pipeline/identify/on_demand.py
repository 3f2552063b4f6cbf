"""Parser processes that are started when the first file comes: many a process never sees one."""

from __future__ import annotations

import asyncio

from pipeline.clock import Clock
from pipeline.identify.pool import ParserPool, parser_pool
from pipeline.settings import Settings


class OnDemand:
    """Gives a pool, its own or somebody else's.

    Args:
        settings: For a pool of its own.
        clock: Likewise.
        pool: Somebody else's, open; it is not closed here.
    """

    def __init__(self, settings: Settings, clock: Clock, pool: ParserPool | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._pool = pool
        self._own: ParserPool | None = None
        self._starting = asyncio.Lock()

    async def pool(self) -> ParserPool:
        """Return the pool; the first call opens it."""
        async with self._starting:
            if self._pool is None:
                # It looks for the rules folder.
                self._own = await asyncio.to_thread(parser_pool, self._settings, self._clock)
                await self._own.open()
                self._pool = self._own
        return self._pool

    async def close(self) -> None:
        """End the pool, unless it is somebody else's; safe to repeat."""
        own, self._own, self._pool = self._own, None, None
        if own is not None:
            await own.close()
