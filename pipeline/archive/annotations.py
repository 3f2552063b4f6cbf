"""What is derived from a message and kept beside it (archive contract, section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from pipeline.archive.message import Message
from pipeline.log.port import Headers

MediaTypes = Callable[[Sequence[bytes]], Awaitable[Sequence[str]]]
"""Tells the MIME type of each block, the start of a payload; the blocks are untrusted bytes.

Raises `ParserFailure` when one of them breaks the parser.
"""

Annotations = dict[str, Any]

OCTET_STREAM = "application/octet-stream"
EMPTY = "application/x-empty"
_READ_BY_PEOPLE = frozenset({"title", "_sender", "file_name", "originator"})

_FORMATS = {
    b"voevent": "application/x.voevent",
    b"gcntextnotice": "application/x.gcn.notice",
    b"circular": "application/x.gcn.circular",
    b"blob": OCTET_STREAM,
    b"json": "application/json",
    b"avro": "application/avro",
    b"external": "message/x.hop.external+json",
}


def media_type_of_headers(headers: Headers | None) -> str | None:
    """Give the media type the `_format` headers name, None when the payload itself must be asked.

    The last recognised label wins: a publisher's own header comes before its client's.
    """
    named = None
    for name, value in headers or ():
        if name == "_format" and value in _FORMATS:
            named = _FORMATS[value]
    return None if named == OCTET_STREAM else named


def header_texts(headers: Headers | None) -> dict[str, str]:
    """Give of each header that people read the first one that is UTF-8 text, by its name."""
    found: dict[str, str] = {}
    for name, value in headers or ():
        if name in _READ_BY_PEOPLE and name not in found and value is not None:
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                continue
    return found


def base(
    message: Message,
    *,
    uuid: UUID,
    is_client_uuid: bool,
    crc32: int,
    public: bool,
    media_type: str,
    text_fully_indexed: bool | None = None,
) -> Annotations:
    """Give the annotations upstream writes, in its order; the last only where texts are indexed."""
    told = header_texts(message.headers).get
    notes: Annotations = {
        "con_text_uuid": str(uuid),
        "con_is_client_uuid": is_client_uuid,
        "con_message_crc32": crc32,
        "public": public,
        "direct_upload": message.direct_upload,
        "media_type": media_type,
        "title": told("title", ""),
        "sender": told("_sender", ""),
        "file_name": told("file_name", ""),
        "originator": told("originator", ""),
    }
    if text_fully_indexed is not None:
        notes["text_fully_indexed"] = text_fully_indexed
    return notes


def add_ours(notes: Annotations, message: Message, added_headers: Sequence[str]) -> None:
    """Add the annotations of ours that follow from the message alone; they come after upstream's."""
    if message.partition is not None and message.offset is not None:
        notes["partition"] = message.partition
        notes["offset"] = message.offset
    notes["added_headers"] = list(added_headers)
    notes["null_payload"] = message.value is None


def add_circumstances(
    notes: Annotations, message: Message, *, cluster: str, ingest_time_ms: int, sha256: bytes
) -> None:
    """Add the annotations of ours about how the message came here; they come last."""
    if message.timestamp_type is not None:
        notes["timestamp_type"] = message.timestamp_type
    if cluster:
        notes["cluster"] = cluster
    notes["ingest_time"] = ingest_time_ms
    notes["sha256"] = sha256.hex()
    if message.is_test:
        notes["test"] = True
