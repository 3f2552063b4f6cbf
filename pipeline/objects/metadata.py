"""Metadata of objects: short names and values kept with the bytes.

Every store takes the same ones: names of lower-case letters, digits and dashes, values of printable
Unicode text, together at most `limits.OBJECT_METADATA_MAX_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from pipeline import limits
from pipeline.errors import BadInput

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_PLAIN = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What stays readable in a header; `%`, blanks and everything beyond ASCII are encoded."""


def check(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata as a dictionary when every store can keep them.

    Raises:
        BadInput: A name or value is not allowed, or they are too long together.
    """
    checked = dict(metadata or {})
    for name, value in checked.items():
        if not _NAME.fullmatch(name):
            raise BadInput(
                "store metadata", f"the name {name!r} is not lower-case letters, digits and dashes"
            )
        if not value.isprintable():
            raise BadInput("store metadata", f"the value of {name} is not printable text: {value[:80]!a}")
    size_bytes = sum(len(name) + len(to_header(value)) for name, value in checked.items())
    if size_bytes > limits.OBJECT_METADATA_MAX_BYTES:
        raise BadInput(
            "store metadata", f"{size_bytes} bytes are more than {limits.OBJECT_METADATA_MAX_BYTES}"
        )
    return checked


def to_header(value: str) -> str:
    """Encode a value as ASCII that a HTTP header carries unchanged (RFC 3986 percent-encoding)."""
    return quote(value, safe=_PLAIN)


def from_header(value: str) -> str:
    """Decode what `to_header` gave; values of others come out unchanged when they have no percent sign."""
    return unquote(value)
