"""Shares of a restore, each played back by a process of its own.

What a process did is in the journal of its share, so any of them may be killed at any moment, and is, when
another one fails or the restore is interrupted. None outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar

from pipeline.archive.archive import Archive
from pipeline.archive.restore.report import Progress, Report
from pipeline.archive.restore.run import Told
from pipeline.archive.restore.shares import Share, run_share
from pipeline.errors import HeadraceError, Unavailable
from pipeline.log.port import Log

T = TypeVar("T")
_STARTING = multiprocessing.get_context("spawn")


class Elsewhere(Protocol):
    """Opens the archive and the destination of a restore once more, in another process; can be pickled."""

    def __call__(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        """Open both, run `work` on an event loop, close both and return the result."""


async def run_in_processes(shares: Sequence[Share], elsewhere: Elsewhere, progress: Told) -> list[Report]:
    """Play shares back at the same time and give their reports in the same order.

    Raises:
        HeadraceError: As the first share that failed raised it; the others are stopped.
        Unavailable: A process was ended from outside.
    """
    told = _Together(len(shares), progress)
    running = []
    try:
        async with asyncio.TaskGroup() as group:
            for number, share in enumerate(shares):
                running.append(group.create_task(_run(elsewhere, share, told.of(number))))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [each.result() for each in running]


async def _run(elsewhere: Elsewhere, share: Share, progress: Told) -> Report:
    ours, theirs = _STARTING.Pipe(duplex=False)
    process = _STARTING.Process(target=_main, args=(theirs, elsewhere, share), daemon=True)
    try:
        # Here and at the end some ms, not in a thread: a cancelled task would not wait for that.
        _start(process)
        theirs.close()
        while isinstance(received := await _receive(ours, process), Progress):
            progress(received)
    finally:
        _end(process)
        ours.close()
    if isinstance(received, HeadraceError):
        raise received
    return received


async def _receive(channel: Connection, process: BaseProcess) -> Progress | Report | HeadraceError:
    try:
        received: Progress | Report | HeadraceError = await asyncio.to_thread(channel.recv)
    except EOFError:
        await asyncio.to_thread(process.join)
        why = f"a process of the restore ended with exit code {process.exitcode}"
        raise Unavailable("restore messages", why, "run it again with its journal") from None
    return received


def _start(process: BaseProcess) -> None:
    """Start a process that no terminal interrupts: the one that started it ends it."""
    resource_tracker.ensure_running()  # which would take the mask away where it is started on the way
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it keeps that
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _end(process: BaseProcess) -> None:
    """Be sure that nothing more comes of a process; its journal says what came."""
    if process.pid is not None:
        process.kill()
        process.join()


class _Together:
    """How far several shares are, told as one."""

    def __init__(self, count: int, progress: Told) -> None:
        self._parts: list[Progress | None] = [None] * count
        self._progress = progress

    def of(self, number: int) -> Told:
        """Give what a share tells its progress to."""

        def told(part: Progress) -> None:
            self._parts[number] = part
            parts = [each for each in self._parts if each is not None]
            if len(parts) < len(self._parts):
                return
            stage = "sending" if any(each.stage == "sending" for each in parts) else part.stage
            # Who verifies already has sent everything.
            done = [each for each in parts if each.stage == stage]
            ahead = [each for each in parts if each.stage != stage]
            self._progress(
                Progress(
                    stage,
                    sum(each.messages for each in done) + sum(each.messages_total for each in ahead),
                    sum(each.messages_total for each in parts),
                    sum(each.bytes for each in done) + sum(each.bytes_total for each in ahead),
                    sum(each.bytes_total for each in parts),
                )
            )

        return told


# --- in the other process ---


def _main(channel: Connection, elsewhere: Elsewhere, share: Share) -> None:
    """Play a share back; everything said on the way goes to who started this process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()

    async def work(archive: Archive, destination: Log) -> Report:
        return await run_share(archive, destination, share, channel.send)

    with suppress(KeyboardInterrupt):  # terminated; who started this one sees its end
        try:
            channel.send(elsewhere(work))
        except HeadraceError as error:
            channel.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Whatever is under way is told apart by the next run: nothing may come of this one any more.
        os._exit(1)
