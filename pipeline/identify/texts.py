"""The searchable text of a payload: its strings, and what its keys say about strings and numbers.

Runs inside the parser process, since every format is parsed from untrusted bytes. Whatever is wrong with a
payload ends its own text and no other's; a `MemoryError` is never swallowed. Contract: archive section 6.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from xml.parsers import expat

import fastavro
import msgspec

from pipeline import limits_archive

_UNBROKEN_CHARACTERS: Final = 128
"""A string so long without a space is taken for encoded data, which nobody searches for."""


class Extract(NamedTuple):
    """The text of a payload; not `complete` when it was cut, or the payload could not be read whole."""

    text: str
    complete: bool


class _Full(Exception):
    """There is as much text as was asked for."""


class _Found:
    """Collects strings until there are more characters than wanted."""

    def __init__(self, max_characters: int) -> None:
        self._strings: list[str] = []
        self._room = max_characters
        self._max_characters = max_characters

    def add(self, *strings: str) -> None:
        """Take strings. Raises `_Full` when they are more than there is room for."""
        for text in strings:
            self._strings.append(text)
            # The space before the first string is one that is not written.
            self._room -= len(text) + (len(self._strings) > 1)
            if self._room < 0:
                raise _Full

    def text(self) -> str:
        """Give them, joined and cut, without halves of characters that no encoding has."""
        joined = " ".join(self._strings)[: self._max_characters]
        return joined.encode("utf-8", "replace").decode("utf-8")


def extract(media_type: str, payload: bytes, max_characters: int) -> Extract:
    """Find the text of a payload of that type, at most so many characters of it.

    A type that is not among `KNOWN` has none. What was found before a payload stopped making sense counts.

    Raises:
        MemoryError: It needs more memory than this process may have.
    """
    find = _FINDERS.get(media_type)
    if find is None:
        return Extract("", complete=False)
    found = _Found(max_characters)
    complete = False
    try:
        find(payload, found)
        complete = True
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110
        # What the parsers raise for bytes that are not theirs depends on where they stop fitting, and here
        # it is all one: the text ends there. `_Full` is among it.
        pass
    return Extract(found.text(), complete)


def _plain(data: bytes, found: _Found) -> None:
    text = data.decode()
    if _worth(text):
        found.add(text)


def _json(data: bytes, found: _Found) -> None:
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        # Senders in Python write NaN and Infinity, which are no JSON.
        value = json.loads(data)
    _collect(value, found)


def _avro(data: bytes, found: _Found) -> None:
    records = fastavro.reader(io.BytesIO(data))
    for record in itertools.islice(records, limits_archive.TEXT_AVRO_RECORDS):
        _collect(record, found)
    if next(records, None) is not None:
        raise _Full


def _model(data: bytes, found: _Found) -> None:
    """Read one of hop's own models: older clients send it as JSON, later ones as it was made."""
    start = data[: limits_archive.TEXT_START_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    find = {b"<": _xml, b"{": _json}.get(start, _plain)
    find(data, found)


def _collect(value: Any, found: _Found) -> None:
    if isinstance(value, str):
        if _worth(value):
            found.add(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, int | float):
                found.add(str(key), str(item))
            elif not isinstance(item, str):
                _collect(item, found)
            elif _worth(item):
                found.add(str(key), item)
    elif isinstance(value, list):
        for item in value:
            _collect(item, found)


def _worth(text: str) -> bool:
    return len(text) < _UNBROKEN_CHARACTERS or " " in text


def _xml(data: bytes, found: _Found) -> None:
    """Collect the texts and attributes of elements, each with its name.

    Nothing outside the document is read, and a document that declares entities is given up: they serve to
    make a small document a large one.
    """
    parser = expat.ParserCreate()
    reader = _Elements(found)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.pieces.append
    parser.EntityDeclHandler = _refuse
    parser.Parse(data, True)


def _refuse(*declaration: object) -> None:
    raise ValueError(f"it declares the entity {declaration[0]}")


class _Elements:
    """What a reader of XML is told, turned into strings."""

    def __init__(self, found: _Found) -> None:
        self.pieces: list[str] = []
        """Character data since the last tag."""
        self._found = found
        self._names: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take note of an element that begins. Attributes of XML itself and of its schemas say nothing."""
        self._flush()
        self._names.append(name.rpartition(":")[2])
        for key, value in attributes.items():
            if key != "xmlns" and ":" not in key and _worth(value):
                self._found.add(key, value)

    def end(self, name: str) -> None:
        """Take note of an element that ends."""
        del name
        self._flush()
        self._names.pop()

    def _flush(self) -> None:
        text = "".join(self.pieces).strip()
        self.pieces.clear()
        if text and _worth(text):
            self._found.add(self._names[-1], text)


_FINDERS: Final[dict[str, Callable[[bytes, _Found], None]]] = {
    "application/avro": _avro,
    "application/json": _json,
    "application/x.gcn.circular": _model,
    "application/x.gcn.notice": _model,
    "application/x.voevent": _model,
    "text/plain": _plain,
}

KNOWN: Final = frozenset(_FINDERS)
"""The media types that have text."""
