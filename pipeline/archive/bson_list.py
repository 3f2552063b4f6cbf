"""A list of archived objects as one BSON document, its length known before its parts are at hand.

The layout of message lists over HTTP (archive contract, section 17.1): the objects stand in it byte for
byte, in an array after the marks of the pages around them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.archive import bson

_LENGTH = struct.Struct("<i")
_END = b"\0"


class ListFrame(NamedTuple):
    """What stands around the objects: before the first, before each, and behind the last."""

    head: bytes
    before: list[bytes]
    tail: bytes
    size_bytes: int
    """Of the whole list, objects included."""


def frame(marks: Mapping[str, str | None], sizes_bytes: Sequence[int]) -> ListFrame:
    """Make the frame of a list: members of their own, then ``messages`` with objects of those sizes."""
    before = [b"\x03%d\0" % number for number in range(len(sizes_bytes))]
    array_bytes = _LENGTH.size + sum(map(len, before)) + sum(sizes_bytes) + len(_END)
    # Without its length, which comes anew, and its end, which comes later.
    members = bson.write(marks)[_LENGTH.size : -len(_END)] + b"\x04messages\0"
    size_bytes = _LENGTH.size + len(members) + array_bytes + len(_END)
    head = _LENGTH.pack(size_bytes) + members + _LENGTH.pack(array_bytes)
    return ListFrame(head, before, _END + _END, size_bytes)
