"""A bound on bytes under way, where whoever does not fit waits."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import NamedTuple


class _Waiting(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    size_bytes: int


class Room:
    """Room for so many bytes; first come, first served, also across event loops."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken_bytes = 0
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    async def enter(self, size_bytes: int) -> None:
        """Wait for room. A single piece above the bound enters when nothing else is there."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiting and self._fits(size_bytes):
                self._taken_bytes += size_bytes
                return
            place = _Waiting(loop, loop.create_future(), size_bytes)
            self._waiting.append(place)
        try:
            await place.future
        except asyncio.CancelledError:
            with self._lock:
                still_waiting = place in self._waiting
                if still_waiting:
                    self._waiting.remove(place)
            if not still_waiting:
                self.leave(size_bytes)
            raise

    def leave(self, size_bytes: int) -> None:
        """Give room back and let in who fits now."""
        with self._lock:
            self._taken_bytes -= size_bytes
            while self._waiting and self._fits(self._waiting[0].size_bytes):
                place = self._waiting.popleft()
                if place.loop.is_closed():
                    continue
                self._taken_bytes += place.size_bytes
                place.loop.call_soon_threadsafe(_grant, place.future)

    def _fits(self, size_bytes: int) -> bool:
        return not self._taken_bytes or self._taken_bytes + size_bytes <= self._max_bytes


def _grant(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
