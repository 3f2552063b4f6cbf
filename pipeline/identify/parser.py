"""One parser process seen from the service: started, fed, watched, and its end explained.

At most `limits.PARSER_PIPELINED` files are in its hands, worked on in order; the first is the one to blame
when it dies. It never outlives the service.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

import msgspec

from pipeline import errors, limits
from pipeline.clock import Clock
from pipeline.errors import Damaged, HeadraceError, Unavailable
from pipeline.identify.item import Cause, Death, Item
from pipeline.identify.messages import (
    EXIT_MEMORY,
    REPLY,
    Asked,
    Frames,
    Large,
    Ready,
    Refused,
    Reply,
    Setup,
    frame,
)

_PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONPATH", "PATH")
"""Environment a parser process gets; the rest may hold secrets and is kept from it."""
_SET = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
_OUT_OF_MEMORY_TEXTS = ("memory allocation of", "bad_alloc", "MemoryError", "cannot allocate memory")


class Events(NamedTuple):
    """What the owner of a parser is told."""

    free: Callable[[Parser], None]
    """It can take another file."""
    ended: Callable[[Parser, Death], None]
    """Its process is gone; `pending` holds what it was given and did not answer."""


class Parser(asyncio.Protocol):
    """A running parser process; made by `start_parser`."""

    def __init__(
        self, process: asyncio.subprocess.Process, setup: Setup, clock: Clock, events: Events
    ) -> None:
        self.pending: deque[Item] = deque()
        self.served = 0
        """Files answered so far."""
        self.retired = False
        self.outlived = asyncio.Event()
        """Set when it should be replaced: it died, or its rules or its age are to change."""
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._setup = setup
        self._clock = clock
        self._events = events
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._disconnected = asyncio.Event()
        self._process = process
        self._watch = asyncio.get_running_loop().create_task(self._live())
        self._deadline_seconds = 0.0
        self._killed_for: Cause | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_room(self) -> bool:
        """Whether it takes another file now."""
        return (
            len(self.pending) < limits.PARSER_PIPELINED
            and not self.retired
            and self._killed_for is None
            and not self._disconnected.is_set()
        )

    def submit(self, item: Item) -> None:
        """Hand it a file; only when it `has_room`."""
        self.pending.append(item)
        if len(self.pending) == 1:
            self._restart_deadline()
        self._write(item.request(self.served + len(self.pending)))

    def check(self) -> None:
        """End the process when the file it works on took too long."""
        if self.pending and self._clock.monotonic() >= self._deadline_seconds:
            self.kill(Cause.TIMEOUT)

    def kill(self, cause: Cause) -> None:
        """End the process at once; its owner is told when it is gone."""
        if self._process.returncode is None:
            self._killed_for = self._killed_for or cause
            self._process.kill()

    def retire(self) -> None:
        """Take no more files, and end when the last one is answered."""
        self.retired = True
        self._end_when_done()

    async def stop(self) -> None:
        """Return when the process is gone; files it still has are not waited for."""
        if self.pending or not self.ready.done() or self.ready.cancelled():
            self.kill(Cause.ASKED)
        if self._transport is None:
            self._disconnected.set()
        self.retire()
        done, _ = await asyncio.wait([self._watch], timeout=limits.PARSER_STOP_SECONDS)
        if not done:
            self.kill(Cause.ASKED)
            await asyncio.wait([self._watch])

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        try:
            for message in self._frames.feed(data):
                self._take(REPLY.decode(message))
        except (Damaged, msgspec.DecodeError, msgspec.ValidationError):
            # A process that does not keep the protocol has been taken over or is broken.
            self.kill(Cause.CRASH)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that no more answers will come."""
        del exc
        self._disconnected.set()

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, Ready):
            if not self.ready.done():
                self.ready.set_result(reply)
            return
        if not self.pending or reply.number != self.served + 1:
            raise Damaged(
                "take an answer of the parser process", f"nothing was asked as number {reply.number}"
            )
        if isinstance(reply, Large):
            self._restart_deadline(min(reply.size_bytes, limits.OBJECT_MAX_BYTES))
            return
        item = self.pending[0]
        if isinstance(reply, Refused):
            item.fail(_error(reply))
        else:
            item.succeed(reply)
        self.pending.popleft()
        self.served += 1
        self._restart_deadline()
        self._end_when_done()
        self._events.free(self)

    def _write(self, message: Setup | Asked) -> None:
        if self._transport is None:
            raise Unavailable("write to a parser process", "its socket is not connected yet")
        self._transport.write(frame(message))

    def _restart_deadline(self, size_bytes: int = 0) -> None:
        allowed = self._setup.timeout_seconds + size_bytes / limits.PARSE_BYTES_PER_SECOND
        self._deadline_seconds = self._clock.monotonic() + allowed

    def _end_when_done(self) -> None:
        if self.retired and not self.pending and self._transport:
            # The process reads the end of its socket and leaves.
            self._transport.close()

    # --- life of the process ---

    async def start(self) -> Ready:
        """Wait until the process is confined and its rules are compiled.

        Raises:
            Unavailable: It ended, or was not ready within `limits.PARSER_START_SECONDS`.
        """
        self._write(self._setup)
        try:
            async with asyncio.timeout(limits.PARSER_START_SECONDS):
                return await self.ready
        except TimeoutError as error:
            why = f"it was not ready within {limits.PARSER_START_SECONDS:g} s"
            raise Unavailable(
                "start a parser process", why, "see whether the machine is overloaded"
            ) from error

    async def _live(self) -> None:
        text = await self._standard_error()
        code = await self._process.wait()
        # Answers sent just before the end are still in the socket; they count.
        await self._disconnected.wait()
        death = self._explain(code, text)
        if not self.ready.done():
            self.ready.set_exception(Unavailable("start a parser process", death.why))
        self.outlived.set()
        self._events.ended(self, death)

    async def _standard_error(self) -> str:
        """Read until the process closes it, keeping the end."""
        stream = cast("asyncio.StreamReader", self._process.stderr)
        kept = b""
        while text := await stream.read(limits.PARSER_ERROR_BYTES):
            kept = (kept + text)[-limits.PARSER_ERROR_BYTES :]
        return kept.decode("utf-8", "replace").strip()

    def _explain(self, code: int, text: str) -> Death:
        if self._killed_for is Cause.TIMEOUT:
            return Death(Cause.TIMEOUT, f"it took longer than {self._setup.timeout_seconds:g} s")
        if code == -signal.SIGXCPU:
            return Death(Cause.TIMEOUT, "it used more processor time than it may")
        if code == EXIT_MEMORY or any(mark in text for mark in _OUT_OF_MEMORY_TEXTS):
            mib = self._setup.memory_bytes // limits.MIB
            return Death(Cause.MEMORY, f"it needed more than {mib} MiB of memory")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        why = ": ".join([f"the parser process {how}", *text.splitlines()[-1:]])
        asked = self._killed_for is Cause.ASKED or (code == 0 and not self.pending)
        return Death(Cause.ASKED if asked else Cause.CRASH, why)


def _error(reply: Refused) -> HeadraceError:
    kind = getattr(errors, reply.kind, HeadraceError)
    return kind(reply.tried, reply.why)


async def start_parser(setup: Setup, clock: Clock, events: Events) -> tuple[Parser, Ready]:
    """Start a parser process and return it when it is ready.

    Raises:
        Unavailable: It did not get ready; no process is left behind.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    parser, ready = None, None
    try:
        with theirs:
            process = await _spawn(theirs)
        parser = made = Parser(process, setup, clock, events)
        await asyncio.get_running_loop().create_unix_connection(lambda: made, sock=ours)
        ready = await made.start()
    except OSError as error:
        raise Unavailable("start a parser process", error.strerror or str(error)) from error
    finally:
        if ready is None:
            if parser is not None:
                await parser.stop()
            ours.close()
    return made, ready


async def _spawn(channel: socket.socket) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the working folder is not searched for modules
        "-m",
        "pipeline.identify.worker",
        stdin=channel.fileno(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )


def environment() -> dict[str, str]:
    """Return the environment of a parser process: what it needs to start, none of the settings."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _SET
