"""Sizes as people write them: ``64GiB``, ``500Ki``, ``3MB``. Contract: dispatcher section 19."""

from __future__ import annotations

import re
from fractions import Fraction

_SI = "kMGTPE"
_IEC = "KMGTPE"
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate(_SI, 1)},
    **{letter: 1000**power for power, letter in enumerate(_IEC, 1)},
    **{f"{letter}{unit}": 1024**power for power, letter in enumerate(_IEC, 1) for unit in ("i", "iB")},
}
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)([a-zA-Z]*)", re.ASCII)
ALLOWED = (
    "a number of bytes, or one with B, kB, MB, GB … (powers of 1000), KiB, MiB, GiB … (powers of 1024)"
)


def parse_size(text: str) -> int:
    """Return a size in bytes: a number immediately followed by its unit, upper and lower case told apart.

    What is left of a byte is cut off. (The reference cuts the fraction of the number, so that
    ``59.6GiB`` is 59 GiB there.)

    Raises:
        ValueError: It is no such text.
    """
    match = _SIZE.fullmatch(text)
    factor = _UNITS.get(match[2]) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text[:40]!r} is no size; allowed is {ALLOWED}")
    return int(Fraction(match[1]) * factor)
