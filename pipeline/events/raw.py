r"""JSON of others that passes through undecoded: ``info``, ``metadata``, a retrohunt's ``entity``.

Number spellings stay as they came; white space between tokens goes; ``<``, ``>``, ``&`` and the line
separators U+2028 and U+2029 leave as ``\u003c``-style escapes, so that the text is safe inside a page.
Contract: dispatcher section 4.1 (`BinaryEntity`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.errors import EventCorrupt

NULL = msgspec.Raw(b"null")
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def null() -> msgspec.Raw:
    """Give JSON null; a default factory."""
    return NULL


def compact(value: msgspec.Raw) -> msgspec.Raw:
    """Return `value` without insignificant white space and with the escapes above.

    Raises:
        EventCorrupt: It is not JSON, not UTF-8, or nested too deeply to read.
    """
    try:
        text = msgspec.json.format(bytes(value), indent=-1)
        if not text.isascii():
            text.decode()
    except (ValueError, RecursionError) as error:
        raise EventCorrupt("read JSON carried by an event", str(error)) from error
    # Outside strings none of these can occur in JSON, so replacing them anywhere replaces them in strings.
    for plain, escape in _ESCAPES:
        if plain in text:
            text = text.replace(plain, escape)
    return msgspec.Raw(text)


def of(value: Any) -> msgspec.Raw:
    """Encode a value of ours as such JSON."""
    return compact(msgspec.Raw(msgspec.json.encode(value)))
