"""The loop of a plugin: make it known, take tasks, do them, until it is told to stop.

Guarantees that a task that was taken is done to its end before `run` returns, unless `run` is cancelled;
that a hub that is away is waited for with growing pauses; and that nobody is asked in a hurry when there
is nothing to do. Contract: dispatcher section 26.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from headrace.hub import Fetched, Hub
from headrace.plugin import Plugin
from headrace.work import Work
from pipeline import limits
from pipeline.clock import Clock, SystemClock
from pipeline.errors import HeadraceError, Unavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Runner:
    """Runs one plugin against one hub.

    Args:
        plugin: Which.
        hub: Where its tasks come from.
        clock: Time.
        concurrency: How many tasks it works on at once.
    """

    def __init__(
        self, plugin: Plugin, hub: Hub, *, clock: Clock | None = None, concurrency: int = 1
    ) -> None:
        self._plugin = plugin
        self._hub = hub
        self._clock = clock or SystemClock()
        self._concurrency = concurrency
        self._work = Work(plugin, hub, self._clock)

    async def run(self, stop: asyncio.Event, *, once: bool = False) -> None:
        """Work until `stop` is set, or with `once` until nothing is left to do.

        A fetch that waits is given up when `stop` is set; a task handed out at that very moment comes
        again when it has lapsed.

        Raises:
            HeadraceError: The hub refuses the plugin, or too many of its functions do not end. With `once`
                also `Unavailable`: it cannot be reached.
        """
        _ = self._plugin.function  # refuses a plugin without one before anybody hears of it
        stopped = asyncio.create_task(stop.wait())
        loops: list[asyncio.Task[None]] = []
        try:
            known = await self._patiently(stopped, self._register, once=once)
            if known:
                loops += [
                    asyncio.create_task(self._loop(stopped, once=once)) for _ in range(self._concurrency)
                ]
                await asyncio.gather(*loops)
        finally:
            for task in (stopped, *loops):
                task.cancel()
            await asyncio.gather(stopped, *loops, return_exceptions=True)

    async def _register(self) -> bool:
        await self._hub.publish(self._plugin.registration(self._clock.now()), attempts=1)
        return True

    async def _loop(self, stopped: asyncio.Task[bool], *, once: bool) -> None:
        while not stopped.done():
            asked = self._clock.monotonic()
            fetched = await self._patiently(stopped, self._fetch, once=once)
            if fetched is None:
                return
            for event in fetched.events:
                await self._work.perform(event)
            self._check_threads()
            if fetched.events or fetched.filtered:
                continue
            if once and fetched.ready and not fetched.paused:
                return
            # The hub held the question for its deadline, as a rule; when it did not, this is the pause.
            passed = self._clock.monotonic() - asked
            await self._pause(stopped, limits.PLUGIN_FETCH_SECONDS - passed)

    async def _fetch(self) -> Fetched:
        return await self._hub.fetch(self._plugin.subscription)

    async def _patiently(
        self, stopped: asyncio.Task[bool], call: Callable[[], Awaitable[T]], *, once: bool
    ) -> T | None:
        """Repeat a call until the hub can be reached; None when the stop came first."""
        pause_seconds = limits.CALL_BACKOFF_SECONDS
        while not stopped.done():
            calling = asyncio.ensure_future(call())
            try:
                await asyncio.wait({calling, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not calling.done():
                    return None
                return calling.result()
            except Unavailable as error:
                if once:
                    raise
                log.warning(
                    "waiting for the hub",
                    plugin=str(self._plugin),
                    reason=str(error),
                    in_seconds=pause_seconds,
                )
            finally:
                calling.cancel()
            await self._pause(stopped, pause_seconds)
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
        return None

    async def _pause(self, stopped: asyncio.Task[bool], seconds: float) -> None:
        if seconds <= 0:
            return
        timer = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({timer, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def _check_threads(self) -> None:
        stuck = self._work.functions.stuck()
        if stuck >= limits.PLUGIN_STUCK_MAX:
            raise HeadraceError(
                f"run {self._plugin}",
                f"{stuck} of its functions did not end in time and still run",
                "mend the plugin, or give it a larger timeout_seconds; start it again",
            )
