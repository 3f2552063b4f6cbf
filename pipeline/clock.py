"""Time, handed in rather than fetched, so that a test can own it.

Everything that reads the time or waits for it takes a `Clock`. `SystemClock` is the real one;
`ManualClock` stands still until told to move, and wakes its sleepers when it does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """The time of day, a steady time for measuring, and a way to wait."""

    def now(self) -> dt.datetime:
        """Give the time of day in UTC, with its zone."""

    def unix(self) -> float:
        """Give the time of day in seconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Give a time in seconds that never goes back; only differences mean anything."""

    async def sleep(self, delay_seconds: float) -> None:
        """Return after `delay_seconds` have passed on this clock."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> dt.datetime:
        """Give the time of day in UTC."""
        return dt.datetime.now(dt.UTC)

    def unix(self) -> float:
        """Give the time of day in seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Give the machine's steady time in seconds."""
        return time.monotonic()

    async def sleep(self, delay_seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(delay_seconds)


class ManualClock:
    """A clock that moves only when `advance` is called; for tests and for replaying the past."""

    def __init__(self, start: dt.datetime) -> None:
        self._start = start.astimezone(dt.UTC)
        self._passed_seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> dt.datetime:
        """Give the start time plus what has been advanced."""
        return self._start + dt.timedelta(seconds=self._passed_seconds)

    def unix(self) -> float:
        """Give `now` in seconds since 1970-01-01 UTC."""
        return self._start.timestamp() + self._passed_seconds

    def monotonic(self) -> float:
        """Give the seconds advanced so far."""
        return self._passed_seconds

    async def sleep(self, delay_seconds: float) -> None:
        """Wait until the clock was advanced by `delay_seconds`."""
        waiter = asyncio.get_running_loop().create_future()
        due = self._passed_seconds + delay_seconds
        heapq.heappush(self._sleepers, (due, next(self._order), waiter))
        await waiter

    def advance(self, seconds: float) -> None:
        """Move time on and wake every sleeper whose time has come, earliest first."""
        self._passed_seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self._passed_seconds:
            waiter = heapq.heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)
