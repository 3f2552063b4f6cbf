"""Plugins inside a service: over HTTP to the process they run in, so that there is one way to run them.

One that fails is logged and started again after a pause; the others and the service do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from headrace.plugin import Plugin
from headrace.remote import connect
from headrace.runner import Runner
from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import HeadraceError

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(plugins: Sequence[Plugin], url: str, clock: Clock) -> AsyncIterator[None]:
    """Run plugins against the hub at a URL until the block is left.

    On leaving, each may finish the task at hand for `limits.PLUGIN_STOP_SECONDS`; what is cut short then is
    handed out again.
    """
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_keep_running(plugin, url, clock, stop)) for plugin in plugins]
    try:
        yield
    finally:
        stop.set()
        if tasks:
            await asyncio.wait(tasks, timeout=limits.PLUGIN_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(plugin: Plugin, url: str, clock: Clock, stop: asyncio.Event) -> None:
    pause_seconds = limits.CALL_BACKOFF_SECONDS
    while not stop.is_set():
        try:
            async with connect(url, str(plugin)) as hub:
                await Runner(plugin, hub, clock=clock).run(stop)
        except HeadraceError as error:
            log.warning(
                "plugin starts again", plugin=str(plugin), reason=str(error), in_seconds=pause_seconds
            )
        try:
            async with asyncio.timeout(pause_seconds):
                await stop.wait()
        except TimeoutError:
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
