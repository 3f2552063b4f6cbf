"""Byte ranges as the dispatcher contract, section 16.3, wants them answered."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import BadInput


class Cut(NamedTuple):
    """The part of an object that will be delivered."""

    first: int
    length_bytes: int


def check(key: str, first: int, last: int | None) -> None:
    """Refuse what is a wrong range for every object.

    Raises:
        BadInput: `first` is negative or lies behind `last`.
    """
    if first < 0 or (last is not None and last < first):
        raise BadInput(f"read {key}", f"bytes {first} to {last} are no range")


def cut(key: str, first: int, last: int | None, size_bytes: int) -> Cut:
    """Fit a range to an object: the end is cut, an empty object has an empty range at 0.

    Raises:
        BadInput: `first` lies behind the end.
    """
    if first > 0 and first >= size_bytes:
        raise BadInput(f"read {key}", f"offset {first} lies after the end, {size_bytes} bytes")
    end = size_bytes if last is None else min(last + 1, size_bytes)
    return Cut(first, end - first)
