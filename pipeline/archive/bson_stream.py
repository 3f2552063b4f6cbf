"""A BSON document read while it arrives: element by element, large values in pieces, memory flat.

For documents whose payload need not fit into memory: uploads, and payloads taken out of archived objects
(archive contract, sections 7.3 and 13). Everything read is untrusted: each length is checked before it
is believed, and nothing is kept that the caller did not ask for.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

from pipeline.errors import BadInput

DOCUMENT = 0x03
BINARY = 0x05
_NAME_MAX_BYTES = 256
_LENGTH = struct.Struct("<i")
_FIXED_SIZES = {
    0x01: 8,
    0x06: 0,
    0x07: 12,
    0x08: 1,
    0x09: 8,
    0x0A: 0,
    0x10: 4,
    0x11: 8,
    0x12: 8,
    0x13: 16,
    0x7F: 0,
    0xFF: 0,
}
"""Bytes of the element types whose size does not vary."""
_COUNTED = {0x02: 0, DOCUMENT: -4, 0x04: -4, BINARY: 1, 0x0D: 0, 0x0E: 0}
"""Types that begin with a count: how many more bytes follow it than it says."""
_SMALLEST_DOCUMENT = 5


class BrokenBson(BadInput):
    """It is no BSON, or ends too early."""


class Element(NamedTuple):
    """An element whose value comes next: its BSON type, its name, and the bytes of its value."""

    kind: int
    name: str
    size_bytes: int


class BsonReader:
    """Reads one document from chunks.

    `element` goes to the next element, passing over what is left of the one before; `value`, `binary` and
    `enter` read it. All raise `BrokenBson`.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._position = 0  # in what is held
        self._left_bytes = 0  # of the present value
        self._count = b""  # of the present value, which was read already
        self._read_bytes = 0
        self._size_bytes = 0

    async def start(self) -> int:
        """Read the head of the document and return the size it says it has."""
        (self._size_bytes,) = _LENGTH.unpack(await self._take(_LENGTH.size))
        if self._size_bytes < _SMALLEST_DOCUMENT:
            raise _broken(f"a document of {self._size_bytes} bytes")
        return self._size_bytes

    async def element(self) -> Element | None:
        """Go to the next element, None behind the last one of the document (or of the one entered)."""
        async for _ in self._pieces(self._left_bytes):
            pass
        self._count = b""
        (kind,) = await self._take(1)
        if kind == 0:
            self._left_bytes = 0
            return None
        name = await self._name()
        if kind in _FIXED_SIZES:
            size_bytes = self._left_bytes = _FIXED_SIZES[kind]
        elif kind in _COUNTED:
            self._count = await self._take(_LENGTH.size)
            (count,) = _LENGTH.unpack(self._count)
            self._left_bytes = count + _COUNTED[kind]
            size_bytes = self._left_bytes + _LENGTH.size
        else:
            raise _broken(f"type {kind} of element {name}")
        if self._left_bytes < 0 or self._read_bytes + self._left_bytes >= self._size_bytes:
            raise _broken(f"element {name} is longer than the document")
        return Element(kind, name, size_bytes)

    async def enter(self) -> None:
        """Go into the present value, a document: its elements come next."""
        self._left_bytes = 0

    async def value(self) -> bytes:
        """Read the present value whole, as it stands there; see its size before."""
        left_bytes, self._left_bytes = self._left_bytes, 0
        return self._count + await self._take(left_bytes)

    async def binary(self) -> tuple[int, AsyncIterator[bytes]]:
        """Begin to read the present value, bytes; return how many they are, and them in pieces.

        Raises:
            BrokenBson: It is an outdated kind of bytes (subtype 2), whose length stands inside them.
        """
        size_bytes = self._left_bytes - 1
        if size_bytes < 0:
            raise _broken("bytes without their subtype")
        (subtype,) = await self._take(1)
        if subtype == 0x02:  # noqa: PLR2004 - a number of the BSON specification
            raise _broken("bytes of subtype 2")
        self._left_bytes = 0
        return size_bytes, self._pieces(size_bytes)

    async def finish(self) -> None:
        """Check that the document ends where it said, and everything with it."""
        more = self._position < len(self._held) or await self._more()
        if more or self._read_bytes != self._size_bytes:
            raise _broken("its length is not what it says")

    async def _name(self) -> str:
        name = bytearray()
        while (byte := await self._take(1)) != b"\0":
            name += byte
            if len(name) > _NAME_MAX_BYTES:
                raise _broken("a name is too long")
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise _broken("a name is no text") from error

    async def _take(self, size_bytes: int) -> bytes:
        end = self._position + size_bytes
        if end <= len(self._held):
            taken, self._position = self._held[self._position : end], end
            self._read_bytes += size_bytes
            return taken
        return b"".join([piece async for piece in self._pieces(size_bytes)])

    async def _pieces(self, size_bytes: int) -> AsyncIterator[bytes]:
        left_bytes = size_bytes
        while left_bytes:
            if self._position == len(self._held) and not await self._more():
                raise _broken("it ends too early")
            piece = self._held[self._position : self._position + left_bytes]
            self._position += len(piece)
            self._read_bytes += len(piece)
            left_bytes -= len(piece)
            yield piece

    async def _more(self) -> bool:
        """Hold the next chunk; say whether there is one."""
        async for chunk in self._chunks:
            if chunk:
                self._held, self._position = chunk, 0
                return True
        return False


def _broken(why: str) -> BrokenBson:
    return BrokenBson("read BSON", why)
