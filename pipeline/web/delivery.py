"""When an answer has arrived: not when it is written, but when the client's machine has acknowledged it.

Written bytes wait in this process, which may be killed, and in the kernel, whose connection may break; what
counts as received before that is lost to the client.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from typing import Any

from aiohttp import web

from pipeline import limits

_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.05


async def delivered(request: web.Request) -> None:
    """Return when nothing of what was written to a client is under way any more.

    Raises:
        ConnectionResetError: The connection ended, or the client takes nothing for `WEB_BODY_IDLE_SECONDS`.
    """
    time = asyncio.get_running_loop().time
    pause_seconds, before, moved = 0.0, -1, time()
    while left := _under_way(request.transport):
        if left != before:
            before, moved = left, time()
        elif time() - moved > limits.WEB_BODY_IDLE_SECONDS:
            raise ConnectionResetError("the client takes nothing")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(max(2 * pause_seconds, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _under_way(transport: asyncio.Transport | None) -> int:
    """Return how many bytes the client's machine has not acknowledged."""
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has left")
    return transport.get_write_buffer_size() + _unacknowledged(transport.get_extra_info("socket"))


def _unacknowledged(socket: Any) -> int:
    """Return what of it the kernel holds; 0 where kernels do not tell."""
    if sys.platform != "linux" or socket is None:
        return 0
    count: int = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return count
