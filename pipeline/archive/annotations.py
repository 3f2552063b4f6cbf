"""What is derived from a message and kept beside it (archive contract, section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pipeline.archive.message import Message

MediaTypes = Callable[[Sequence[bytes]], Awaitable[Sequence[str]]]
"""Tells the MIME type of each block, the start of a payload; the blocks are untrusted bytes.

Raises `ParserFailure` when one of them breaks the parser.
"""

Annotations = dict[str, Any]

EMPTY = "application/x-empty"


def base(
    message: Message,
    *,
    uuid: UUID,
    is_client_uuid: bool,
    crc32: int,
    public: bool,
    media_type: str,
    texts: Mapping[str, str],
    text_fully_indexed: bool | None = None,
) -> Annotations:
    """Give the annotations upstream writes, in its order; the last only where texts are indexed."""
    told = texts.get
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
    notes: Annotations,
    message: Message,
    *,
    cluster: str,
    ingest_time_ms: int,
    sha256: bytes,
    is_test: bool,
) -> None:
    """Add the annotations of ours about how the message came here; they come last."""
    if message.timestamp_type is not None:
        notes["timestamp_type"] = message.timestamp_type
    if cluster:
        notes["cluster"] = cluster
    notes["ingest_time"] = ingest_time_ms
    notes["sha256"] = sha256.hex()
    if is_test:
        notes["test"] = True
