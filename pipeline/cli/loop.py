"""The event loop commands run on: uvloop, ended in order by SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

T = TypeVar("T")

_GARBAGE_OBJECTS: Final = 100_000
"""Objects made before those in cycles are looked for.

Events are many small objects and make no cycles; with Python's 700 a tenth of a scan's time went into
looking, with 20,000 still a twentieth of an archive's.
"""

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread computes while another waits for the interpreter.

Agents read Kafka in a thread that needs it often and briefly: with Python's 5 ms it reads a fifth slower
while the loop is busy.
"""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end and return its result.

    SIGTERM cancels it as SIGINT does, so that everything it opened is closed in order.

    Raises:
        KeyboardInterrupt: It was interrupted or terminated.
    """
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_terminable(main))


async def _terminable(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if ended:
            raise KeyboardInterrupt from None
        task.cancel()
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
