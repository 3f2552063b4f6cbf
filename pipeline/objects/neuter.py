"""Neutered bytes: CaRT packing and unpacking of streams (metastore contract, sections 6.1, 7.2 and 21).

A CaRT file cannot be run by accident: its bytes are compressed and RC4-enciphered with a key that stands
in the file. The package `cart` is the reference; it works on the event loop and accepts cut files, so
packing in threads and checking everything is done here.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from cart.cart import (
    CART_MAGIC,
    DEFAULT_ARC4_KEY,
    MANDATORY_FOOTER_FMT,
    MANDATORY_HEADER_FMT,
    RESERVED,
    TRAC_MAGIC,
    VERSION,
)
from Crypto.Cipher import ARC4

from pipeline import limits
from pipeline.errors import BadInput, TooLarge
from pipeline.objects import sources
from pipeline.objects.threads import in_thread

_HEADER = struct.Struct(MANDATORY_HEADER_FMT)
_FOOTER = struct.Struct(MANDATORY_FOOTER_FMT)
_PRIVATE_KEY = bytes(16)
"""Stands in the header when the real key is told some other way."""


def is_cart(head: bytes) -> bool:
    """Tell from the first 38 bytes whether something claims to be CaRT."""
    if len(head) < _HEADER.size:
        return False
    magic, version, reserved, _, _ = _HEADER.unpack_from(head)
    return bool(magic == CART_MAGIC and version == VERSION and reserved == RESERVED)


# --- packing ---


async def pack(
    source: sources.Source, *, header: Mapping[str, Any] | None = None, digests: bool = False
) -> AsyncIterator[bytes]:
    """Yield the bytes as a CaRT file.

    Args:
        source: What to pack.
        header: Written into the file, by convention with ``name``; left out, the file has no optional
            header, as downloads have none.
        digests: Write length, MD5, SHA-1 and SHA-256 at the end, so that a reader can check them.
    """
    packer = _Packer(digests=digests)
    yield packer.begin(header or {})
    async with aclosing(sources.blocks(source, limits.OBJECT_BATCH_BYTES)) as blocks:
        async for block in blocks:
            if packed := await in_thread(packer.feed, block):
                yield packed
    yield packer.end()


class _Packer:
    def __init__(self, *, digests: bool) -> None:
        self._cipher = ARC4.new(DEFAULT_ARC4_KEY)
        self._deflate = zlib.compressobj(zlib.Z_BEST_SPEED)
        self._digests = _Digests() if digests else None
        self._position = 0

    def begin(self, header: Mapping[str, Any]) -> bytes:
        optional = _encipher_json(header)
        if len(optional) > limits.CART_HEADER_MAX_BYTES:
            raise TooLarge("pack as CaRT", f"the header has more than {limits.CART_HEADER_MAX_BYTES} bytes")
        mandatory = _HEADER.pack(CART_MAGIC, VERSION, RESERVED, DEFAULT_ARC4_KEY, len(optional))
        return self._count(mandatory + optional)

    def feed(self, data: bytes) -> bytes:
        if self._digests:
            self._digests.update(data)
        return self._count(self._cipher.encrypt(self._deflate.compress(data)))

    def end(self) -> bytes:
        body = self._count(self._cipher.encrypt(self._deflate.flush()))
        optional = _encipher_json(self._digests.named() if self._digests else {})
        return body + optional + _FOOTER.pack(TRAC_MAGIC, RESERVED, self._position, len(optional))

    def _count(self, data: bytes) -> bytes:
        self._position += len(data)
        return data


class _Digests:
    """What the footer of a CaRT file says about the bytes in it."""

    def __init__(self) -> None:
        self._length_bytes = 0
        self._hashes = (
            hashlib.md5(usedforsecurity=False),
            hashlib.sha1(usedforsecurity=False),
            hashlib.sha256(),
        )

    def update(self, data: bytes) -> None:
        self._length_bytes += len(data)
        for each in self._hashes:
            each.update(data)

    def named(self) -> dict[str, str]:
        hashes = {each.name: each.hexdigest() for each in self._hashes}
        return {"length": str(self._length_bytes), **hashes}


def _encipher_json(value: Mapping[str, Any]) -> bytes:
    if not value:
        return b""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return ARC4.new(DEFAULT_ARC4_KEY).encrypt(text.encode())


# --- unpacking ---


async def unpack(source: sources.Source) -> Unpacked:
    """Read the header of a CaRT file and return the bytes in it as a stream.

    Raises:
        BadInput: It is no CaRT file, or its header is damaged or needs a private key.
    """
    blocks = sources.blocks(source, limits.OBJECT_BATCH_BYTES)
    first = await anext(blocks, b"")
    try:
        unpacker = _Unpacker(first)
    except BadInput:
        await blocks.aclose()
        raise
    return Unpacked(unpacker, blocks)


class Unpacked:
    """The bytes of a CaRT file; iterate once.

    The last step checks that the file was whole and that the digests in it fit, so only bytes that were
    read to the end without an error may be used: `ObjectStore.put` keeps nothing otherwise.
    """

    def __init__(self, unpacker: _Unpacker, blocks: AsyncGenerator[bytes, None]) -> None:
        self._unpacker = unpacker
        self._blocks = blocks
        self.header: dict[str, Any] = unpacker.header
        """The optional header; empty when there is none."""

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes.

        Raises:
            BadInput: The file is damaged, cut, or does not fit its digests.
            TooLarge: There are more than `limits.OBJECT_MAX_BYTES` in it.
        """
        size_bytes = 0
        async with aclosing(self._blocks):
            while True:
                while plain := await in_thread(self._unpacker.take):
                    size_bytes += len(plain)
                    if size_bytes > limits.OBJECT_MAX_BYTES:
                        raise TooLarge("unpack CaRT", f"more than {limits.OBJECT_MAX_BYTES} bytes")
                    yield plain
                block = await anext(self._blocks, b"")
                if not block:
                    break
                self._unpacker.feed(block)
        self._unpacker.end()


class _Unpacker:
    """The state of unpacking: header, then body, then whatever follows the body."""

    def __init__(self, first: bytes) -> None:
        if not is_cart(first):
            raise _bad("it does not start as CaRT version 1")
        _, _, _, key, header_bytes = _HEADER.unpack_from(first)
        # A private key is not in the file; it may still be the usual one.
        self._key = DEFAULT_ARC4_KEY if key == _PRIVATE_KEY else key
        end = _HEADER.size + header_bytes
        if header_bytes > limits.CART_HEADER_MAX_BYTES or end > len(first):
            raise _bad("its optional header is cut or too long")
        self.header = self._decipher_json(first[_HEADER.size : end], "header")
        self._cipher = ARC4.new(self._key)
        self._inflate = zlib.decompressobj()
        self._digests = _Digests()
        self._position = end
        self._ended = False
        self._tail = b""
        self.feed(first[end:])

    def feed(self, block: bytes) -> None:
        """Hand in the next bytes of the file, when `take` had no more to give."""
        if self._ended:
            self._add_tail(block)
        else:
            self._block = block
            self._waiting = self._cipher.decrypt(block)

    def take(self) -> bytes:
        """Return the next plain bytes, none when more of the file is needed. Blocks."""
        if not self._waiting or self._ended:
            return b""
        try:
            plain = self._inflate.decompress(self._waiting, limits.CHUNK_BYTES)
        except zlib.error as error:
            raise _bad(f"its body is damaged or its key is not in it ({error})") from error
        self._waiting = self._inflate.unconsumed_tail
        self._ended = self._inflate.eof
        if self._ended:
            # What follows the body was deciphered with the body's cipher; it is needed as it stood there.
            left_bytes = len(self._inflate.unused_data)
            self._position += len(self._block) - left_bytes
            self._add_tail(self._block[len(self._block) - left_bytes :])
        elif not self._waiting:
            self._position += len(self._block)
        self._digests.update(plain)
        return plain

    def _add_tail(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > limits.CART_HEADER_MAX_BYTES + _FOOTER.size:
            raise _bad("what follows its body is too long for a footer")

    def end(self) -> None:
        """Check what follows the body, when the whole file was handed in."""
        if not self._ended or len(self._tail) < _FOOTER.size:
            raise _bad("it is cut")
        optional = self._tail[: -_FOOTER.size]
        magic, reserved, position, optional_bytes = _FOOTER.unpack(self._tail[-_FOOTER.size :])
        if magic != TRAC_MAGIC or reserved != RESERVED:
            raise _bad("its footer is damaged")
        if position != self._position or optional_bytes != len(optional):
            raise _bad("its footer does not lie where it says")
        said = self._decipher_json(optional, "footer")
        for name, value in self._digests.named().items():
            if name in said and str(said[name]).lower() != value:
                raise _bad(f"its bytes do not fit its {name}")

    def _decipher_json(self, data: bytes, part: str) -> dict[str, Any]:
        if not data:
            return {}
        try:
            value = json.loads(ARC4.new(self._key).decrypt(data))
        except ValueError as error:
            raise _bad(f"its optional {part} is damaged or its key is not in it") from error
        if not isinstance(value, dict):
            raise _bad(f"its optional {part} is no JSON object")
        return value


def _bad(why: str) -> BadInput:
    return BadInput("unpack CaRT", why)
