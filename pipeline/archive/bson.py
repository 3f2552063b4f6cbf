"""The BSON object of an archived message, written and read (archive contract, section 7).

The only module that knows BSON. Writing gives three pieces of which the middle one is the payload itself,
not a copy; reading accepts both of upstream's layouts and changes no byte of what was archived.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import bson
import msgspec
from bson import json_util
from bson.errors import BSONError, InvalidBSON

from pipeline import limits
from pipeline.errors import BadInput, Damaged, TooLarge
from pipeline.log.port import Headers

DOCUMENT_MAX_BYTES = 2**31 - 1
"""BSON counts a document's bytes in an int32."""

_LENGTH = struct.Struct("<i")
_HEAD = struct.Struct("<i9sib")
_MESSAGE = b"\x05message\x00"
_METADATA = b"\x03metadata\x00"
_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _BINARY = 0x01, 0x02, 0x03, 0x04, 0x05
_FIXED_SIZES = {_DOUBLE: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16}
"""Bytes of the element types whose size does not vary."""


class Encoded(NamedTuple):
    """A document in the pieces it is written in."""

    head: bytes
    payload: bytes
    tail: bytes

    @property
    def size_bytes(self) -> int:
        """Give the size of the whole document."""
        return len(self.head) + len(self.payload) + len(self.tail)

    def crc32(self) -> int:
        """Compute the CRC-32 of the whole document."""
        return zlib.crc32(self.tail, zlib.crc32(self.payload, zlib.crc32(self.head)))

    def joined(self) -> bytes:
        """Give the document in one piece, copying the payload."""
        return b"".join(self)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the document in chunks, never holding a second copy of the payload."""
        yield self.head
        view = memoryview(self.payload)
        for start in range(0, len(view), limits.CHUNK_BYTES):
            yield bytes(view[start : start + limits.CHUNK_BYTES])
        yield self.tail


class Document(msgspec.Struct, frozen=True, gc=False):
    """What an archived object holds.

    `layout` is 2 for what is written today, 1 for the older form with a labelled message. `headers` is
    None when the object has none. `label` is the format an object of layout 1 names for its payload.
    """

    layout: int
    payload: bytes
    timestamp_ms: int
    headers: Headers | None
    key: bytes | str | None
    topic: str
    annotations: Mapping[str, Any]
    label: str | None = None

    @property
    def value(self) -> bytes | None:
        """Give the payload as it was sent: None for a tombstone."""
        return None if self.annotations.get("null_payload") else self.payload

    def headers_as_sent(self) -> Headers | None:
        """Give the headers without those the archive added at their end."""
        added = len(self.annotations.get("added_headers", ()))
        if not added or self.headers is None:
            return self.headers
        return self.headers[:-added] or None


def encode(
    payload: bytes,
    *,
    timestamp_ms: int,
    headers: Headers | None,
    key: bytes | None,
    topic: str,
    annotations: Mapping[str, Any],
) -> Encoded:
    """Write a message as one document.

    Raises:
        BadInput: A header name or annotation is no valid text.
        TooLarge: The document would exceed what BSON can count.
    """
    listed = None if headers is None else [[name, value] for name, value in headers]
    metadata = {"timestamp": timestamp_ms, "headers": listed, "key": key, "topic": topic}
    try:
        rest = bson.encode({"metadata": metadata, "annotations": annotations})
    except (BSONError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise BadInput(f"archive a message of topic {topic}", str(error)) from error
    size = _HEAD.size + len(payload) + len(rest) - _LENGTH.size
    if size > DOCUMENT_MAX_BYTES:
        raise TooLarge(f"archive a message of topic {topic}", f"{size} bytes; BSON ends at 2^31 - 1")
    return Encoded(_HEAD.pack(size, _MESSAGE, len(payload), 0), payload, rest[_LENGTH.size :])


def decode(data: bytes) -> Document:
    """Read an archived object of either layout.

    Raises:
        Damaged: It is no BSON, or not an archived message.
    """
    try:
        whole = bson.decode(data)
        message, metadata = whole["message"], whole["metadata"]
        labelled = isinstance(message, dict)
        payload = message["content"] if labelled else message
        return Document(
            layout=1 if labelled else 2,
            payload=_plain(payload),
            timestamp_ms=int(metadata["timestamp"]),
            headers=_headers(metadata["headers"]),
            key=_key(metadata.get("key")),
            topic=metadata["topic"],
            annotations=whole.get("annotations") or {},
            label=message["format"] if labelled else None,
        )
    except (InvalidBSON, KeyError, TypeError, ValueError) as error:
        raise Damaged("read an archived object", f"it is not an archived message: {error}") from error


def decode_sent(data: bytes | memoryview) -> Document:
    """Read what was sent of an archived object, leaving its annotations out: that takes half the time.

    They are read where they decide what was sent: of an object without payload, which may be a tombstone.

    Raises:
        Damaged: It is no BSON, or not an archived message.
    """
    try:
        _, name, length, _ = _HEAD.unpack_from(data)
        start = _HEAD.size + length
        first = start + len(_METADATA)
        if name != _MESSAGE or length <= 0 or data[start:first] != _METADATA:
            return decode(bytes(data))
        (size,) = _LENGTH.unpack_from(data, first)
        metadata = bson.decode(data[first : first + size])
        headers = metadata["headers"]
        return Document(
            2,
            bytes(data[_HEAD.size : start]),
            int(metadata["timestamp"]),
            None if headers is None else tuple([(each, value) for each, value in headers]),
            _key(metadata["key"]),
            metadata["topic"],
            {},
        )
    except (InvalidBSON, KeyError, TypeError, ValueError, struct.error) as error:
        raise Damaged("read an archived object", f"it is not an archived message: {error}") from error


def write(document: Mapping[str, Any]) -> bytes:
    """Write a document of our own: texts, numbers, truth values, bytes, lists and mappings of them."""
    return bson.encode(document)


def read_value(kind: int, value: bytes) -> Any:
    """Read the value of one element, given as it stands in a document, its type apart.

    Raises:
        BadInput: It is no BSON.
    """
    size = _LENGTH.size + len(b"_\0\0") + 1 + len(value)
    try:
        return bson.decode(_LENGTH.pack(size) + bytes((kind,)) + b"_\0" + value + b"\0")["_"]
    except (BSONError, ValueError) as error:
        raise BadInput("read BSON", str(error)) from error


def to_json(data: bytes) -> bytes:
    """Write a document as JSON, bytes as ``{"$binary": {"base64": …, "subType": "00"}}``.

    Raises:
        Damaged: It is no BSON.
    """
    try:
        return json_util.dumps(bson.decode(data), json_options=json_util.RELAXED_JSON_OPTIONS).encode()
    except (InvalidBSON, ValueError) as error:
        raise Damaged("write an archived object as JSON", str(error)) from error


def payload_of(data: bytes | memoryview) -> memoryview:
    """Find the payload inside an object without copying or decoding the rest.

    Raises:
        Damaged: There is none.
    """
    start, length = payload_span(data)
    view = memoryview(data)
    if start + length > len(view):
        raise Damaged("find the payload of an archived object", "it is cut off")
    return view[start : start + length]


def payload_span(data: bytes | memoryview) -> tuple[int, int]:
    """Tell where the payload begins in an object and how long it is; what lies before it is enough.

    Raises:
        Damaged: The object has none, or more of it is needed.
    """
    view = memoryview(data)
    try:
        kind, first = _find(view, b"message")
        if kind == _DOCUMENT:
            kind, within = _find(view[first:], b"content")
            first += within
        if kind != _BINARY:
            raise Damaged("find the payload of an archived object", f"it has BSON type {kind}")
        (length,) = _LENGTH.unpack_from(view, first)
    except (struct.error, IndexError) as error:
        raise Damaged("find the payload of an archived object", "it is cut off") from error
    if length < 0:
        raise Damaged("find the payload of an archived object", f"it says it has {length} bytes")
    return first + _LENGTH.size + 1, int(length)


def _find(view: memoryview, wanted: bytes) -> tuple[int, int]:
    """Return type and offset of the value of an element of the document the view starts with."""
    position = _LENGTH.size
    while kind := view[position]:
        name_end = position + 1
        while view[name_end]:
            name_end += 1
        first = name_end + 1
        if bytes(view[position + 1 : name_end]) == wanted:
            return kind, first
        position = first + _size(view, kind, first)
    raise Damaged("find the payload of an archived object", f"there is no element {wanted.decode()}")


def _size(view: memoryview, kind: int, first: int) -> int:
    if kind in _FIXED_SIZES:
        return _FIXED_SIZES[kind]
    (length,) = _LENGTH.unpack_from(view, first)
    extra = {_STRING: 4, _BINARY: 5, _DOCUMENT: 0, _ARRAY: 0}.get(kind)
    if extra is None or length < 0:
        raise Damaged("find the payload of an archived object", f"unexpected BSON type {kind}")
    return int(length) + extra


def _plain(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the payload is a {type(value).__name__}")
    return bytes(value)


def _key(value: Any) -> bytes | str | None:
    if value is not None and not isinstance(value, (bytes, str)):
        raise TypeError(f"the key is a {type(value).__name__}")
    return value


def _headers(listed: Any) -> Headers | None:
    if listed is None:
        return None
    return tuple((str(name), _header_value(value)) for name, value in listed)


def _header_value(value: Any) -> bytes | None:
    # One revision of the first generation wrote an empty text in place of null.
    return value.encode() if isinstance(value, str) else None if value is None else _plain(value)
