"""Bytes of strangers as a page shows them: as text where they are text, else in hexadecimal, and bounded.

What comes out is text in which nothing unprintable is left; escaping it for markup is the templates' part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

from pipeline import limits_archive
from pipeline.archive import bson
from pipeline.web.visible import visible

View = Literal["", "text", "hex"]
_ROW_BYTES = 16
_PRETTY_MAX_BYTES = 4 * limits_archive.ARCHIVE_SHOWN_TEXT_BYTES
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


class Shown(NamedTuple):
    """A payload on a page."""

    form: Literal["nothing", "JSON", "text", "hexadecimal"]
    text: str
    bytes_shown: int
    """How much of the payload that is, from its start."""


class ShownHeader(NamedTuple):
    """A header on a page."""

    name: str
    value: str
    form: Literal["text", "hex", "null"]
    size_bytes: int
    cut: bool
    """Whether the value is longer than what is shown."""
    added: bool
    """Whether the archive put it there."""


def shown_payload(payload: bytes, view: View) -> Shown:
    """Show a payload in the form asked for; without one as JSON, as text or in hexadecimal, as it fits."""
    if not payload:
        return Shown("nothing", "", 0)
    start = payload[: limits_archive.ARCHIVE_SHOWN_TEXT_BYTES]
    text = _text(start, is_whole=len(start) == len(payload))
    if view == "hex" or (text is None and view != "text"):
        start = payload[: limits_archive.ARCHIVE_SHOWN_HEX_BYTES]
        return Shown("hexadecimal", hexadecimal(start), len(start))
    if text is None:
        text = start.decode(errors="backslashreplace")
    elif len(start) == len(payload) and (pretty := _pretty(payload)) is not None:
        return Shown("JSON", _visible_lines(pretty), len(payload))
    return Shown("text", _visible_lines(text), len(start))


def shown_headers(document: bson.Document) -> list[ShownHeader]:
    """Show the first headers of a message in their order."""
    headers = document.headers or ()
    own = len(headers) - len(document.annotations.get("added_headers") or ())
    return [
        _header(name, value, added=number >= own)
        for number, (name, value) in enumerate(headers[: limits_archive.ARCHIVE_SHOWN_HEADERS])
    ]


def shown_key(key: bytes | str | None) -> ShownHeader:
    """Show the key of a message as a header is shown."""
    return _header("key", key.encode() if isinstance(key, str) else key, added=False)


def hexadecimal(data: bytes) -> str:
    """Write bytes in hexadecimal, sixteen a line, with their place before and their letters behind."""
    return "\n".join(_hex_lines(data))


def _hex_lines(data: bytes) -> Sequence[str]:
    lines = []
    for place in range(0, len(data), _ROW_BYTES):
        row = data[place : place + _ROW_BYTES]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)  # noqa: PLR2004 - ASCII
        lines.append(f"{place:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {letters}")
    return lines


def _header(name: str, value: bytes | None, *, added: bool) -> ShownHeader:
    if value is None:
        return ShownHeader(visible(name), "", "null", 0, cut=False, added=added)
    start = value[: limits_archive.ARCHIVE_SHOWN_HEADER_BYTES]
    is_cut = len(start) < len(value)
    text = _text(start, is_whole=not is_cut)
    if text is None:
        return ShownHeader(visible(name), start.hex(), "hex", len(value), is_cut, added)
    return ShownHeader(visible(name), visible(text), "text", len(value), is_cut, added)


def _text(data: bytes, *, is_whole: bool) -> str | None:
    """Decode bytes that are text: UTF-8 without control characters. The last character may be cut off."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if is_whole or error.start < len(data) - 3 or error.reason != "unexpected end of data":
            return None
        text = data[: error.start].decode()
    odd = any(character < " " and character not in "\t\n\r" for character in text)
    return None if odd else text


def _pretty(payload: bytes) -> str | None:
    """Indent JSON, its values as they were written; None when it is none, or nested too deeply."""
    if payload[:1] not in b"{[" or _depth(payload) > limits_archive.ARCHIVE_SHOWN_JSON_DEPTH:
        return None
    with suppress(msgspec.DecodeError, RecursionError):
        msgspec.json.decode(payload, type=msgspec.Raw)
        pretty = msgspec.json.format(payload, indent=2)
        return pretty.decode() if len(pretty) <= _PRETTY_MAX_BYTES else None
    return None


def _depth(payload: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", payload)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _visible_lines(text: str) -> str:
    """Make every line visible; tabs stay, and so do the ends of lines, of either kind."""
    return "\n".join(
        "\t".join(map(visible, line.removesuffix("\r").split("\t"))) for line in text.split("\n")
    )
