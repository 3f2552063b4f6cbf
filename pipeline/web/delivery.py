"""When an answer has arrived: not when it is written, but when the client's machine has acknowledged it.

Written bytes wait in this process, which may be killed, and in the kernel, whose connection may break; what
counts as received before that is lost to the client. A client that has everything may close its connection
at once, so the kernel is asked through a descriptor of our own, which outlives that.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Sequence
from contextlib import closing

from aiohttp import web

from pipeline import limits

_FIRST_PAUSE_SECONDS = 0.0002
_LONGER = 1.2
"""Each pause to the one before: the answer is noticed late by a fifth of the time it took, at most."""
_LONGEST_PAUSE_SECONDS = 0.05
_TOGETHER_BYTES = 64 * limits.KIB
"""What is put together before it is sent: one call of the kernel costs more than copying so much."""
_CLOSED = 7
"""State of a connection that was reset (TCP_CLOSE of Linux)."""


def has_left(request: web.Request) -> bool:
    """Say whether the client has closed its connection."""
    return request.transport is None or request.transport.is_closing()


async def deliver(request: web.Request, response: web.StreamResponse, pieces: Sequence[bytes]) -> None:
    """Send the body of a prepared response; return when nothing of it is under way any more.

    Raises:
        ConnectionResetError: The connection broke before, or was cut because the client took nothing for
            `WEB_BODY_IDLE_SECONDS`.
    """
    transport = request.transport
    given = transport.get_extra_info("socket") if transport is not None else None
    if transport is None or given is None or given.fileno() < 0:
        raise _left()
    with closing(socket.fromfd(given.fileno(), given.family, given.type)) as connection:
        writing = asyncio.ensure_future(_write(response, pieces))
        try:
            await _written(transport, writing)
            if sys.platform == "linux":  # other kernels do not tell
                await _acknowledged(connection)
        except ConnectionResetError:
            transport.abort()
            raise
        finally:
            writing.cancel()


async def _write(response: web.StreamResponse, pieces: Sequence[bytes]) -> None:
    if sum(map(len, pieces)) <= _TOGETHER_BYTES:
        await response.write_eof(b"".join(pieces))
        return
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()


async def _written(transport: asyncio.Transport, writing: asyncio.Future[None]) -> None:
    """Return when the kernel has everything."""
    progress = _Progress()
    while not writing.done() or transport.get_write_buffer_size():
        await progress.wait(transport.get_write_buffer_size())
        if transport.is_closing():
            raise _left()  # what was left may be thrown away
    writing.result()


async def _acknowledged(connection: socket.socket) -> None:
    """Return when the client's machine has everything the kernel had."""
    progress = _Progress()
    while left := _unacknowledged(connection):
        if _is_reset(connection):
            raise _left()
        await progress.wait(left)


class _Progress:
    """Waits a little longer each time, as long as less and less is left."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._pause_seconds = 0.0
        self._before = -1
        self._moved = self._time()

    async def wait(self, left: int) -> None:
        """Pause. Raises `ConnectionResetError` when nothing has moved for too long."""
        if left != self._before:
            self._before, self._moved = left, self._time()
        elif self._time() - self._moved > limits.WEB_BODY_IDLE_SECONDS:
            raise ConnectionResetError("the client took nothing")
        await asyncio.sleep(self._pause_seconds)
        longer = max(_LONGER * self._pause_seconds, _FIRST_PAUSE_SECONDS)
        self._pause_seconds = min(longer, _LONGEST_PAUSE_SECONDS)


def _unacknowledged(connection: socket.socket) -> int:
    """Return what of it the kernel holds."""
    count: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return count


def _is_reset(connection: socket.socket) -> bool:
    if connection.family == socket.AF_UNIX:
        return False
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED


def _left() -> ConnectionResetError:
    return ConnectionResetError("the client has left")
