"""Writes the documents of common messages, byte for byte as `bson.encode` does, in a third of the time.

Most of a document is the same in message after message; what repeats is kept in its encoded form. A
message that is out of the ordinary (many or long headers or texts) is left to `bson.encode`, so that
what is kept stays small whatever is sent.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Protocol
from uuid import UUID

import msgspec

from pipeline import limits_archive
from pipeline.archive.bson import Encoded
from pipeline.archive.identity import Identity
from pipeline.archive.message import Content, Message
from pipeline.archive.text.text import Text
from pipeline.log.port import Headers

_HEADERS_MAX = 16
_TEXT_MAX_CHARACTERS = 64
_KEPT = 4096
"""Encoded parts of each kind that are kept."""
_INT32_LAST = 2**31 - 1

_SHA256_DIGITS = 64

_HEAD = struct.Struct("<i9sib")
_int32 = struct.Struct("<i").pack
_int64 = struct.Struct("<q").pack


class Drafted(Protocol):
    """What is written of a draft."""

    message: Message
    identity: Identity
    content: Content
    sha256: bytes
    cluster: str
    public: bool
    text: Text | None
    ingest_time_ms: int


class Told(msgspec.Struct, frozen=True, gc=False):
    """What a message says of itself in annotations and row: the text of some headers, and its type."""

    media_type: str
    title: str
    sender: str
    file_name: str
    originator: str

    @property
    def is_short(self) -> bool:
        """Whether it is worth keeping in its encoded form."""
        texts = len(self.title) + len(self.sender) + len(self.file_name) + len(self.originator)
        return texts <= _TEXT_MAX_CHARACTERS


def write(draft: Drafted, told: Told, uuid: UUID, is_client_uuid: bool) -> Encoded | None:
    """Write a message that stood in a log as one document; None when it is out of the ordinary."""
    message, identity = draft.message, draft.identity
    partition, offset, key, payload = message.partition, message.offset, message.key, message.payload
    listed = _headers(identity.headers)
    if partition is None or offset is None or listed is None or not told.is_short:
        return None
    if len(payload) > limits_archive.ARCHIVE_OBJECT_MAX_BYTES:
        return None
    metadata = b"".join(
        (
            _number(b"timestamp", message.timestamp_ms),
            listed,
            b"\x0akey\0" if key is None else b"\x05key\0%b\0%b" % (_int32(len(key)), key),
            _topic(message.topic),
        )
    )
    annotations = b"".join(
        (
            b"\x02con_text_uuid\0\x25\0\0\0",
            str(uuid).encode(),
            b"\0\x08con_is_client_uuid\0\x01" if is_client_uuid else b"\0\x08con_is_client_uuid\0\0",
            _number(b"con_message_crc32", draft.content.crc32),
            _told(draft.public, message.direct_upload, told, draft.text and draft.text.fully),
            _number(b"partition", partition),
            _number(b"offset", offset),
            _around(
                identity.added,
                message.value is None,
                message.timestamp_type,
                draft.cluster,
                draft.ingest_time_ms,
            ),
            draft.sha256.hex().encode(),
            b"\0\x08test\0\x01\0\0" if identity.said.is_test else b"\0\0\0",
        )
    )
    # Each length counts itself and the end of its document; the end of the whole is in `annotations`.
    tail = b"\x03metadata\0%b%b\x03annotations\0%b%b" % (
        _int32(len(metadata) + 4),
        metadata,
        _int32(len(annotations) + 3),
        annotations,
    )
    size_bytes = _HEAD.size + len(payload) + len(tail)
    return Encoded(_HEAD.pack(size_bytes, b"\x05message\0", len(payload), 0), payload, tail)


def _headers(headers: Headers) -> bytes | None:
    """Write the list of headers; None when one of them is out of the ordinary."""
    if len(headers) > _HEADERS_MAX:
        return None
    pieces: list[bytes] = []
    for n, (name, value) in enumerate(headers):
        if len(name) > _TEXT_MAX_CHARACTERS or not name.isascii():
            return None
        if value is None:
            pieces += (_header(n, name, None), b"\0")
        else:
            pieces += (_header(n, name, len(value)), value, b"\0")
    listed = b"".join(pieces)
    return b"\x04headers\0%b%b\0" % (_int32(len(listed) + 5), listed)


@lru_cache(_KEPT)
def _header(n: int, name: str, size_bytes: int | None) -> bytes:
    """Write a header up to its value, whose size is known."""
    value = b"\x0a1\0" if size_bytes is None else b"\x051\0%b\0" % _int32(size_bytes)
    inner = b"%b%b" % (_text(b"0", name), value)
    return b"\x04%d\0%b%b" % (n, _int32(4 + len(inner) + (size_bytes or 0) + 1), inner)


@lru_cache(_KEPT)
def _topic(topic: str) -> bytes:
    return _text(b"topic", topic) + b"\0"


@lru_cache(_KEPT)
def _told(public: bool, direct_upload: bool, told: Told, fully: bool | None) -> bytes:
    pieces = [
        _truth(b"public", public),
        _truth(b"direct_upload", direct_upload),
        _text(b"media_type", told.media_type),
        _text(b"title", told.title),
        _text(b"sender", told.sender),
        _text(b"file_name", told.file_name),
        _text(b"originator", told.originator),
    ]
    if fully is not None:
        pieces.append(_truth(b"text_fully_indexed", fully))
    return b"".join(pieces)


@lru_cache(_KEPT)
def _around(
    added_headers: tuple[str, ...],
    null_payload: bool,
    timestamp_type: str | None,
    cluster: str,
    ingest_time_ms: int,
) -> bytes:
    added = b"".join(_text(b"%d" % n, name) for n, name in enumerate(added_headers))
    pieces = [b"\x04added_headers\0%b%b\0" % (_int32(len(added) + 5), added)]
    pieces.append(_truth(b"null_payload", null_payload))
    if timestamp_type is not None:
        pieces.append(_text(b"timestamp_type", timestamp_type))
    if cluster:
        pieces.append(_text(b"cluster", cluster))
    pieces.append(_number(b"ingest_time", ingest_time_ms))
    pieces.append(b"\x02sha256\0%b" % _int32(_SHA256_DIGITS + 1))
    return b"".join(pieces)


def _number(name: bytes, value: int) -> bytes:
    if -_INT32_LAST - 1 <= value <= _INT32_LAST:
        return b"\x10" + name + b"\0" + _int32(value)
    return b"\x12" + name + b"\0" + _int64(value)


def _truth(name: bytes, value: bool) -> bytes:
    return b"\x08%b\0%b" % (name, b"\x01" if value else b"\0")


def _text(name: bytes, value: str) -> bytes:
    data = value.encode()
    return b"\x02%b\0%b%b\0" % (name, _int32(len(data) + 1), data)
