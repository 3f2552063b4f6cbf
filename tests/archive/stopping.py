"""Stop a coroutine at its n-th moment, as a cancelled agent would be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class StopAt:
    """Runs a coroutine and cancels it at the n-th moment.

    Moments are the times it waits for something, and those others count. `reached` says afterwards
    whether there were so many.
    """

    def __init__(self, moment: int) -> None:
        self._moment = moment
        self._task: asyncio.Task[Any] | None = None
        self.reached = False

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run the coroutine to its end or until it is stopped."""
        self._task = asyncio.create_task(self.watched(coroutine))
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    def count(self) -> None:
        """Count one moment, and stop there if it is the one."""
        self._moment -= 1
        if self._moment == 0 and self._task is not None:
            self.reached = True
            self._task.cancel()

    async def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Count the moments of a coroutine that runs in another task."""
        return await _Watched(coroutine, self.count)


class _Watched:
    def __init__(self, coroutine: Coroutine[Any, Any, Any], count: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._count = count

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._coroutine.__await__()
        try:
            pending = next(waiting)
            while True:
                self._count()
                try:
                    value = yield pending
                except BaseException as error:  # noqa: BLE001 -- handed on to the coroutine, whatever it is
                    pending = waiting.throw(error)
                else:
                    pending = waiting.send(value)
        except StopIteration as end:
            return end.value
