"""Running a plugin's function: in a thread or on the loop, for a limited time, whatever it raises.

A thread cannot be ended from outside. One that does not come back in time is left behind and counted; its
job takes nothing any more, so it ends at its next call of the job.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from headrace.job import Job
from headrace.plugin import Function, Plugin
from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import HeadraceError


class TimeOver(HeadraceError):
    """The function did not end within its time."""


class Functions:
    """Runs the function of one plugin, several at once when asked to.

    Args:
        plugin: Whose function.
        clock: Measures the time limit.
    """

    def __init__(self, plugin: Plugin, clock: Clock) -> None:
        self._plugin = plugin
        self._clock = clock
        self._left_behind: list[threading.Thread] = []

    def stuck(self) -> int:
        """Return how many threads were left behind and still run."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        return len(self._left_behind)

    async def run(self, job: Job) -> BaseException | None:
        """Run the function on a job and close the job; return what it raised, or `TimeOver`."""
        function = self._plugin.function
        timer = asyncio.create_task(self._clock.sleep(self._plugin.timeout_seconds))
        if inspect.iscoroutinefunction(function):
            thread: threading.Thread | None = None
            ended: asyncio.Future[BaseException | None] = asyncio.ensure_future(_on_the_loop(function(job)))
        else:
            thread, ended = _in_a_thread(function, job)
        try:
            either: tuple[asyncio.Future[Any], ...] = (ended, timer)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            seconds = self._plugin.timeout_seconds
            return TimeOver(f"run {self._plugin} on {job.sha256}", f"it has not ended after {seconds:g} s")
        finally:
            job.close()
            timer.cancel()
            if not ended.done():
                await self._give_up(ended, thread)

    async def _give_up(
        self, ended: asyncio.Future[BaseException | None], thread: threading.Thread | None
    ) -> None:
        """Let go of a function: one on the loop is cancelled, a thread is left behind."""
        ended.cancel()
        if thread is not None:
            self._left_behind.append(thread)
        else:
            await asyncio.wait({ended}, timeout=limits.PLUGIN_CANCEL_SECONDS)


async def _on_the_loop(work: Awaitable[None]) -> BaseException | None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it is somebody else's code, sys.exit included
        return error
    return None


def _in_a_thread(
    function: Function, job: Job
) -> tuple[threading.Thread, asyncio.Future[BaseException | None]]:
    """Start the function in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            function(job)
        except BaseException as raised:  # noqa: BLE001 - it is somebody else's code, sys.exit included
            error = raised
        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(tell, error)

    thread = threading.Thread(target=work, name=f"plugin-{job.sha256[:8]}", daemon=True)
    thread.start()
    return thread, ended
