"""What similar files are found by: parts of ssdeep hashes, and vectors of TLSH hashes and entropy.

Contract: metastore sections 3.4 (step 6), 16.4, 16.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from pipeline.index.values import WHOLE

_TLSH: Final = re.compile(r"(?:T1)?([0-9a-fA-F]{70})")
_BYTE_MIDDLE: Final = 128
_ENTROPY_STEPS: Final = 40
_ENTROPY_MAX: Final = 8.0
_ABSURD: Final = 1e9
_QUARTERS_PER_UNIT: Final = 4
_BITS_PER_STEP: Final = 32


def encoded_ssdeep(ssdeep: str) -> dict[str, Any]:
    """Part an ssdeep hash into block size and its two chunks.

    Raises:
        ValueError: It is not an ssdeep hash.
    """
    size, *chunks = ssdeep.split(":")
    if len(chunks) != 2 or not size.isdecimal() or int(size) > WHOLE["integer"][1]:  # noqa: PLR2004
        raise ValueError(f"{ssdeep[:64]!r} is not an ssdeep hash")
    return {"blocksize": int(size), "chunk": chunks[0], "dchunk": chunks[1]}


def tlsh_vector(tlsh: str) -> list[int] | None:
    """Return the 36 signed bytes by which TLSH hashes are compared; None for what is no such hash."""
    match = _TLSH.fullmatch(tlsh)
    if match is None:
        return None
    checksum, length, quartiles, *body = bytes.fromhex(match[1])
    head = [_swapped(checksum), _swapped(length), quartiles >> 4, quartiles & 0xF]
    return [value - _BYTE_MIDDLE for value in (*head, *body)]


def entropy_vector(blocks: Sequence[float]) -> list[int] | None:
    """Return the 160 signed bytes by which courses of entropy are compared; None for a short course.

    Forty steps, each 0 to 8 in quarters, each written as that many of 32 bits.
    """
    if len(blocks) < _ENTROPY_STEPS:
        return None
    return [byte for value in _stretched(blocks) for byte in _STEP_BYTES[_quarters(value)]]


def _swapped(byte: int) -> int:
    return (byte & 0xF) << 4 | byte >> 4


def _stretched(blocks: Sequence[float]) -> list[float]:
    """Interpolate linearly to the fixed number of steps."""
    last = len(blocks) - 1
    # No entropy is anywhere near: this keeps differences of absurd values finite.
    blocks = [min(max(value, -_ABSURD), _ABSURD) for value in blocks]
    values = []
    for step in range(_ENTROPY_STEPS):
        place = step * last / (_ENTROPY_STEPS - 1)
        left = int(place)
        right = min(left + 1, last)
        values.append(blocks[left] + (blocks[right] - blocks[left]) * (place - left))
    return values


def _quarters(value: float) -> int:
    return round(min(max(value, 0.0), _ENTROPY_MAX) * _QUARTERS_PER_UNIT)


def _step_bytes(ones: int) -> tuple[int, ...]:
    """Return 32 bits as signed bytes: so many ones from the left, then zeros."""
    packed = int("1" * ones + "0" * (_BITS_PER_STEP - ones), 2).to_bytes(_BITS_PER_STEP // 8, "big")
    return tuple(byte - 2 * _BYTE_MIDDLE if byte >= _BYTE_MIDDLE else byte for byte in packed)


_STEP_BYTES: Final = [_step_bytes(ones) for ones in range(_BITS_PER_STEP + 1)]
