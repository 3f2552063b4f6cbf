"""A plugin as a process: until a signal asks it to end, which it does after the task at hand.

The first SIGTERM or SIGINT lets it finish; a second one cuts it short, and the hub hands the task out
again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from headrace.plugin import Plugin

DEFAULT_URL = "http://127.0.0.1:8111"
URL_VARIABLE = "HEADRACE_API"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_until_stopped(plugin: Plugin, url: str, *, concurrency: int = 1, once: bool = False) -> bool:
    """Run a plugin against the hub at a URL until the process is asked to end.

    Returns whether it finished what it had begun; False when it was asked a second time.

    Raises:
        HeadraceError: As `headrace.runner.Runner.run`.
    """
    from headrace.remote import connect
    from headrace.runner import Runner

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with connect(url, str(plugin)) as hub:
        runner = Runner(plugin, hub, concurrency=concurrency)
        working = asyncio.create_task(runner.run(stop, once=once))

        def end() -> None:
            if stop.is_set():
                working.cancel()
            stop.set()

        for number in _SIGNALS:
            loop.add_signal_handler(number, end)
        try:
            await asyncio.wait({working})
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        if working.cancelled():
            return False
        working.result()
        return True


def main(plugin: Plugin, arguments: Sequence[str] | None = None) -> None:
    """Run a plugin as the program it is; ends the process with the exit codes of `headrace`."""
    asked = _parser(plugin).parse_args(arguments)
    from pipeline import logs
    from pipeline.errors import HeadraceError
    from pipeline.exits import INTERRUPTED, exit_code
    from pipeline.settings import LoggingSettings

    logs.configure(LoggingSettings(level="INFO", format="console"))
    work = run_until_stopped(plugin, asked.api, concurrency=asked.concurrency, once=asked.once)
    try:
        finished = asyncio.run(work)
    except HeadraceError as error:
        sys.stderr.write(f"{plugin}: {error}\n")
        sys.exit(exit_code(error))
    sys.exit(0 if finished else INTERRUPTED)


def _parser(plugin: Plugin) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"Run the plugin {plugin} against a Headrace.")
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    parser.add_argument("--api", metavar="URL", default=url, help=f"where Headrace is ({url})")
    parser.add_argument("--concurrency", metavar="N", type=_positive, default=1, help="tasks at once (1)")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
