"""The forms the bytes of a stream may be stored in: as they are, XORed, encrypted, or both.

Contract: dispatcher section 18. Encrypted bytes are 8 bytes of salt, 16 bytes of initial counter, then
AES-256-CTR under the key ``aes_key || salt``; XORed bytes are combined with 16 known bytes by their offset.
Both turn bytes one by one with a stream of other bytes, so the same `Coder` goes either way and may start
anywhere.
"""

from __future__ import annotations

import hmac
from typing import Final, Literal

import msgspec
from Crypto.Util.strxor import strxor
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

Use = Literal["off", "readonly", "enabled"]
"""Whether an encoding is not known, read, or read and written."""


_SALT_BYTES: Final = 8
_COUNTER_BYTES: Final = 16
_XOR_KEY: Final = b"iloveazul1234567"


class Form(msgspec.Struct, frozen=True):
    """One form, told by the end of its key."""

    aes: bool = False
    xor: bool = False

    @property
    def ending(self) -> str:
        """What follows the key of the stream: ``.xor``, ``.aesc1``, ``.aesc1.xor`` or nothing."""
        return (".aesc1" if self.aes else "") + (".xor" if self.xor else "")

    @property
    def header_bytes(self) -> int:
        """How many bytes stand before those of the content."""
        return _SALT_BYTES + _COUNTER_BYTES if self.aes else 0

    def key(self, stream_key: str) -> str:
        """Return where a stream is stored in this form."""
        return stream_key + self.ending


PLAIN: Final = Form()
FORMS: Final = (PLAIN, Form(xor=True), Form(aes=True), Form(aes=True, xor=True))


def readable_forms(*, aes: Use, xor: Use) -> tuple[Form, ...]:
    """Return the forms that are understood, the preferred one, which is written, first."""
    return tuple(
        Form(aes=with_aes, xor=with_xor) for with_aes in _choices(aes) for with_xor in _choices(xor)
    )


def _choices(use: Use) -> tuple[bool, ...]:
    return {"off": (False,), "readonly": (False, True), "enabled": (True, False)}[use]


class Coder:
    """Turns content into its stored form or back, from an offset of the content on. Blocks.

    Args:
        form: Any but `PLAIN`.
        aes_key: `AES_KEY_BYTES` bytes.
        header: The salt and counter of an encrypted object, as `new_header` and `open_header` give them.
        offset: Where in the content the first byte given to `turn` lies.
    """

    def __init__(self, form: Form, aes_key: bytes, header: bytes, offset: int = 0) -> None:
        self._aes = _keystream(aes_key, header, offset) if form.aes else None
        self._xor = form.xor
        self._offset = form.header_bytes + offset

    def turn(self, data: bytes) -> bytes:
        """Return the next bytes in the other form."""
        turned = self._aes.update(data) if self._aes else data
        if self._xor:
            turned = _xored(turned, self._offset)
        self._offset += len(data)
        return turned


def new_header(aes_key: bytes, sha256: str) -> bytes:
    """Return salt and counter for content of this hash, the same each time.

    So storing content again changes no stored byte, and a reader of parts never meets a header that
    belongs to another writing. Different content has another header.
    """
    return hmac.digest(aes_key, b"headrace stream " + sha256.encode(), "sha256")[
        : _SALT_BYTES + _COUNTER_BYTES
    ]


def seal_header(form: Form, header: bytes) -> bytes:
    """Return a header as it is stored."""
    return _xored(header, 0) if form.xor else header


open_header = seal_header
"""Return a stored header as it was made; XOR undoes itself."""


def _keystream(aes_key: bytes, header: bytes, offset: int) -> CipherContext:
    salt, counter = header[:_SALT_BYTES], header[_SALT_BYTES:]
    whole_blocks, rest_bytes = divmod(offset, _COUNTER_BYTES)
    first = (int.from_bytes(counter) + whole_blocks) % (1 << 8 * _COUNTER_BYTES)
    mode = modes.CTR(first.to_bytes(_COUNTER_BYTES))
    stream = Cipher(algorithms.AES(aes_key + salt), mode).encryptor()
    stream.update(bytes(rest_bytes))
    return stream


def _xored(data: bytes, offset: int) -> bytes:
    start = offset % len(_XOR_KEY)
    repeats = (start + len(data)) // len(_XOR_KEY) + 1
    return strxor(data, (_XOR_KEY * repeats)[start : start + len(data)])
