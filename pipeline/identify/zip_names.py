"""The names of the members of a ZIP file, read with bounded memory.

Python's own reader takes the whole directory into memory, whatever size the file claims it has; this one
reads at most `limits.ZIP_DIRECTORY_MAX_BYTES` of it, which is enough to tell what kind of ZIP it is.
Layout: PKWARE APPNOTE 6.3, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline import limits
from pipeline.identify.subject import Subject

_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_COMMENT_MAX_BYTES = 0xFFFF
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MARK = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MARK = b"PK\x06\x06"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_MARK = b"PK\x01\x02"
_IN_END64 = 0xFFFFFFFF


def member_names(subject: Subject) -> list[str] | None:
    """Return the member names in the order of the directory, or None when this is not a ZIP file."""
    directory = _directory(subject)
    if directory is None:
        return None
    names = list(_names(directory))
    # An end record alone is four bytes that may stand anywhere; only an empty ZIP file has no member.
    return names if names or not directory else None


def _directory(subject: Subject) -> bytes | None:
    tail_at = max(0, subject.size_bytes - _END.size - _COMMENT_MAX_BYTES)
    tail = subject.read(tail_at, _END.size + _COMMENT_MAX_BYTES)
    # CPython searches backwards slowly; the first test spares it the many files without any mark.
    at = tail.rfind(_END_MARK) if _END_MARK in tail else -1
    if at < 0 or len(tail) - at < _END.size:
        return None
    size_bytes, end_at = _END.unpack_from(tail, at)[5], tail_at + at
    if size_bytes == _IN_END64:
        found = _end64(subject, end_at)
        if found is None:
            return None
        size_bytes, end_at = found
    # The directory ends where its end record begins; the offset stored in it is off when bytes, such as an
    # unpacking program, were put before the ZIP file.
    start = end_at - size_bytes
    if start < 0:
        return None
    return subject.read(start, min(size_bytes, limits.ZIP_DIRECTORY_MAX_BYTES))


def _end64(subject: Subject, end_at: int) -> tuple[int, int] | None:
    locator_at = end_at - _LOCATOR.size
    if locator_at < 0:
        return None
    locator = subject.read(locator_at, _LOCATOR.size)
    if len(locator) < _LOCATOR.size or not locator.startswith(_LOCATOR_MARK):
        return None
    end64_at = _LOCATOR.unpack(locator)[2]
    end64 = subject.read(end64_at, _END64.size)
    if len(end64) < _END64.size or not end64.startswith(_END64_MARK):
        return None
    return _END64.unpack(end64)[8], end64_at


def _names(directory: bytes) -> Iterator[str]:
    at = 0
    while at + _ENTRY.size <= len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        if entry[0] != _ENTRY_MARK:
            return
        name_bytes, extra_bytes, comment_bytes = entry[10:13]
        name_at = at + _ENTRY.size
        yield directory[name_at : name_at + name_bytes].decode("utf-8", "replace")
        at = name_at + name_bytes + extra_bytes + comment_bytes
