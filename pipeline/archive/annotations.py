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


def header_text(headers: Headers | None, wanted: str) -> str:
    """Give the first header of that name that is UTF-8 text, or nothing."""
    for name, value in headers or ():
        if name == wanted and value is not None:
            try:
                return value.decode()
            except UnicodeDecodeError:
                continue
    return ""


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
    headers = message.headers
    notes: Annotations = {
        "con_text_uuid": str(uuid),
        "con_is_client_uuid": is_client_uuid,
        "con_message_crc32": crc32,
        "public": public,
        "direct_upload": message.direct_upload,
        "media_type": media_type,
        "title": header_text(headers, "title"),
        "sender": header_text(headers, "_sender"),
        "file_name": header_text(headers, "file_name"),
        "originator": header_text(headers, "originator"),
    }
    if text_fully_indexed is not None:
        notes["text_fully_indexed"] = text_fully_indexed
    return notes


def ours(message: Message, *, added_headers: Sequence[str]) -> Annotations:
    """Give the annotations of ours that follow from the message alone; they come after upstream's."""
    more: Annotations = {}
    if message.partition is not None and message.offset is not None:
        more["partition"] = message.partition
        more["offset"] = message.offset
    more["added_headers"] = list(added_headers)
    more["null_payload"] = message.value is None
    return more


def circumstances(message: Message, *, cluster: str, ingest_time_ms: int, sha256: bytes) -> Annotations:
    """Give the annotations of ours about how the message came here; they come last."""
    more: Annotations = {}
    if message.timestamp_type is not None:
        more["timestamp_type"] = message.timestamp_type
    if cluster:
        more["cluster"] = cluster
    more["ingest_time"] = ingest_time_ms
    more["sha256"] = sha256.hex()
    if message.is_test:
        more["test"] = True
    return more
