"""Keys of objects: how they are made and which are refused.

A key is a slash-separated path of UTF-8 segments that is safe as a path below a folder and as an S3 key.
Keys of content follow the dispatcher contract, section 18; the checks are those of its section 16.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline import limits
from pipeline.errors import BadInput

PARTIAL = ".partial"
"""First segment kept for the stores' own unfinished files."""

PARKED = "parked"
"""First segment of the raw bytes of parked records."""

_STREAM_SEGMENTS = 3
_KEYS_REMEMBERED = 4096
"""A key passes through several hands, and each checks it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT = re.compile(r"[0-9a-f]{64}(\.aesc1)?(\.xor)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def stream_key(source: str, label: str, sha256: str) -> str:
    """Return the key of a stream of bytes: ``<source>/<label>/<sha256>``.

    Raises:
        BadInput: A part is not allowed; the message names it.
    """
    if not is_sha256(sha256):
        raise BadInput(
            "make the key of a stream", f"sha256 {_shown(sha256)} is not 64 lower-case hex digits"
        )
    return check(f"{_segment('source', source)}/{_segment('label', label)}/{sha256}")


def parked_key(parked_id: str) -> str:
    """Return the key of the raw bytes of a parked record: ``parked/<id>``.

    Raises:
        BadInput: The id cannot be a segment of a key.
    """
    return check(f"{PARKED}/{_segment('id', parked_id)}")


def is_sha256(text: str) -> bool:
    """Tell whether a segment is a SHA-256: 64 lower-case hex digits."""
    return _SHA256.fullmatch(text) is not None


def is_content(text: str) -> bool:
    """Tell whether a segment is a SHA-256, or one with the endings of an encoded form of its bytes."""
    return _CONTENT.fullmatch(text) is not None


def is_stream(key: str) -> bool:
    """Tell whether a key is one `stream_key` makes."""
    segments = key.split("/")
    return len(segments) == _STREAM_SEGMENTS and is_sha256(segments[-1])


def is_stored_stream(key: str) -> bool:
    """Tell whether a key is that of a stream, or of an encoded form of one."""
    segments = key.split("/")
    return len(segments) == _STREAM_SEGMENTS and is_content(segments[-1])


@lru_cache(maxsize=_KEYS_REMEMBERED)
def check(key: str) -> str:
    """Return the key when every store can hold it.

    Raises:
        BadInput: It is empty or too long, or a segment is empty, ``.``, ``..``, too long or has control
            characters; the message names the segment.
    """
    segments = key.split("/")
    for segment in segments:
        _segment("segment", segment)
    if segments[0] == PARTIAL:
        raise BadInput(f"use the key {_shown(key)}", f"{PARTIAL} is kept for unfinished objects")
    if len(key.encode()) > limits.OBJECT_KEY_MAX_BYTES:
        raise BadInput(
            f"use the key {_shown(key)}", f"it has more than {limits.OBJECT_KEY_MAX_BYTES} bytes"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix when a key can start so; the empty one is that of all keys.

    Raises:
        BadInput: One of its whole segments is not allowed in a key.
    """
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        check(folder)
    return prefix


def _segment(part: str, text: str) -> str:
    if text in {"", ".", ".."}:
        problem = "is not allowed"
    elif "/" in text:
        problem = "contains a slash"
    elif _CONTROL.search(text):
        problem = "contains a control character"
    elif not _encodes(text):
        problem = "is not UTF-8 text"
    elif len(text.encode()) > limits.OBJECT_SEGMENT_MAX_BYTES:
        problem = f"has more than {limits.OBJECT_SEGMENT_MAX_BYTES} bytes"
    else:
        return text
    raise BadInput("make or use the key of an object", f"{part} {_shown(text)} {problem}")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    longest_shown = 80
    return ascii(text if len(text) <= longest_shown else text[:longest_shown] + "…")
