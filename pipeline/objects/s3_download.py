"""Reading an object of an S3 store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import limits
from pipeline.errors import Unavailable
from pipeline.objects.port import Stat

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult

Get = Callable[["GetOptions"], "GetResult"]
"""Asks for the object. Blocks."""


class Call(Protocol):
    """One blocking piece of work, as one call to the store."""

    def __call__(self, name: str, tried: str, work: Callable[[], bytes]) -> Awaitable[bytes]:
        """Do it in a thread, with time limit and repetition; errors come out as ours."""


class S3Download:
    """An object or a range of it while it arrives.

    A connection that breaks or stalls is replaced and reading goes on where it stopped, of the same
    version of the object: if it was replaced meanwhile, reading ends with `Conflict`.

    Args:
        stat: The object.
        result: The answer to the request, its bytes not read yet.
        get: Asks again.
        call: Makes the blocking calls.
    """

    def __init__(self, stat: Stat, result: GetResult, get: Get, call: Call) -> None:
        start, stop = result.range
        self.stat = stat
        self.first = start
        self.length_bytes = stop - start
        self._tag = result.meta["e_tag"]
        self._get = get
        self._call = call
        self._stream: BytesStream | None = result.stream(limits.OBJECT_BATCH_BYTES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; once."""
        done_bytes = 0
        while done_bytes < self.length_bytes:
            tried = f"read {self.stat.key}"
            data = await self._call("read", tried, lambda start=done_bytes: self._next(start))  # type: ignore[misc]
            done_bytes += len(data)
            for start in range(0, len(data), limits.CHUNK_BYTES):
                yield data[start : start + limits.CHUNK_BYTES]

    def _next(self, done_bytes: int) -> bytes:
        stream = self._stream or self._reopened(done_bytes)
        self._stream = None  # a failed or abandoned try never comes back to this connection
        data = next(stream, b"")
        if not data:
            raise Unavailable(f"read {self.stat.key}", "the connection ended early")
        self._stream = stream
        return data

    def _reopened(self, done_bytes: int) -> BytesStream:
        options: Any = {"range": (self.first + done_bytes, self.first + self.length_bytes)}
        if self._tag is not None:
            options["if_match"] = self._tag
        return self._get(options).stream(limits.OBJECT_BATCH_BYTES)
