"""What is put into a store (bytes, a file, a stream) as blocks of one size.

Guarantees that a source is read once, that no more than a block or two of it is held, and that a
generator handed in is closed when reading ends early.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from pathlib import Path

from pipeline import limits
from pipeline.errors import TooLarge
from pipeline.objects.faults import file_faults
from pipeline.objects.threads import in_thread

Source = bytes | Path | AsyncIterable[bytes]


async def gather(source: Source, most_bytes: int) -> bytes | AsyncGenerator[bytes, None]:
    """Return all bytes of a source that has at most `most_bytes`, else a stream of blocks of that size."""
    if isinstance(source, bytes) and len(source) <= most_bytes:
        return source
    stream = blocks(source, most_bytes)
    head = await anext(stream, b"")
    second = await anext(stream, None)
    return head if second is None else _rejoined(head, second, stream)


async def _rejoined(
    head: bytes, second: bytes, rest: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield head
        yield second
        async for block in rest:
            yield block


async def blocks(source: Source, block_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a source in blocks of `block_bytes`; only the last one may be shorter.

    Raises:
        TooLarge: There are more than `limits.OBJECT_MAX_BYTES`.
        NotFound: The source is a file that does not exist.
    """
    size_bytes = 0
    async with aclosing(_cut(source, block_bytes)) as stream:
        async for block in stream:
            size_bytes += len(block)
            if size_bytes > limits.OBJECT_MAX_BYTES:
                raise TooLarge("store an object", f"it has more than {limits.OBJECT_MAX_BYTES} bytes")
            yield block


def _cut(source: Source, block_bytes: int) -> AsyncGenerator[bytes, None]:
    if isinstance(source, bytes):
        return _cut_bytes(source, block_bytes)
    if isinstance(source, Path):
        return _cut_file(source, block_bytes)
    return _cut_stream(source, block_bytes)


async def _cut_bytes(data: bytes, block_bytes: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), block_bytes):
        yield data[start : start + block_bytes]


async def _cut_stream(source: AsyncIterable[bytes], block_bytes: int) -> AsyncGenerator[bytes, None]:
    pieces: list[bytes] = []
    held_bytes = 0
    try:
        async for piece in source:
            pieces.append(piece)
            held_bytes += len(piece)
            if held_bytes >= block_bytes:
                data = b"".join(pieces)
                whole_bytes = held_bytes - held_bytes % block_bytes
                for start in range(0, whole_bytes, block_bytes):
                    yield data[start : start + block_bytes]
                pieces = [data[whole_bytes:]]
                held_bytes -= whole_bytes
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if held_bytes:
        yield b"".join(pieces)


async def _cut_file(path: Path, block_bytes: int) -> AsyncGenerator[bytes, None]:
    reader = _Reader(path)
    try:
        while block := await in_thread(reader.read, block_bytes):
            yield block
    finally:
        reader.close()


class _Reader:
    """A file opened by its first read, so that a cancelled opening leaves nothing open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._offset = 0

    def read(self, size_bytes: int) -> bytes:
        """Return the next bytes, fewer only at the end of the file."""
        with file_faults(f"read {self._path}"):
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            data = read_at(self._descriptor, self._offset, size_bytes)
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Close the file; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def read_at(descriptor: int, offset: int, size_bytes: int) -> bytes:
    """Read `size_bytes` at an offset, fewer only at the end of the file."""
    data = os.pread(descriptor, size_bytes, offset)
    if len(data) == size_bytes or not data:
        return data
    pieces = [data]
    missing_bytes = size_bytes - len(data)
    while missing_bytes and (
        data := os.pread(descriptor, missing_bytes, offset + size_bytes - missing_bytes)
    ):
        pieces.append(data)
        missing_bytes -= len(data)
    return b"".join(pieces)
