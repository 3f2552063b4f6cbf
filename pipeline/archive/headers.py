"""What the headers of a message say that the archive understands (archive contract, sections 5 and 6)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

# A uuid.UUID in every respect, made and written ten times faster; nearly every message has one made.
from asyncpg.pgproto.pgproto import UUID

from pipeline.archive.message import TEST_HEADER
from pipeline.log.port import Headers

ID = "_id"
OCTET_STREAM = "application/octet-stream"
_FORMAT = "_format"
_UUID_BYTES = 16
_UNDERSTOOD = frozenset({ID, _FORMAT, TEST_HEADER, "title", "_sender", "file_name", "originator"})

_FORMATS: Mapping[bytes | None, str] = {
    b"voevent": "application/x.voevent",
    b"gcntextnotice": "application/x.gcn.notice",
    b"circular": "application/x.gcn.circular",
    b"blob": OCTET_STREAM,
    b"json": "application/json",
    b"avro": "application/avro",
    b"external": "message/x.hop.external+json",
}


class Said(msgspec.Struct, frozen=True, gc=False):
    """What headers say.

    `uuid` is the first valid `_id`. `media_type` is None when the payload itself must be asked; of labels
    the last recognised one wins: a publisher's own header comes before its client's. `texts` has of each
    header that people read the first one that is UTF-8 text, by its name. `is_test` messages are skipped
    unless the archive is told otherwise.
    """

    uuid: uuid.UUID | None
    media_type: str | None
    texts: Mapping[str, str]
    is_test: bool


def read(headers: Headers | None) -> Said:
    """Read headers, in one pass: this is done for every message."""
    client_uuid: uuid.UUID | None = None
    media_type: str | None = None
    texts: dict[str, str] = {}
    is_test = False
    for name, value in headers or ():
        if name not in _UNDERSTOOD:
            continue
        if name == ID:
            if client_uuid is None and value is not None and len(value) == _UUID_BYTES:
                client_uuid = UUID(value)
        elif name == _FORMAT:
            media_type = _FORMATS.get(value, media_type)
        elif name == TEST_HEADER:
            is_test = True
        elif value is not None and name not in texts:
            try:
                texts[name] = value.decode()
            except UnicodeDecodeError:
                continue
    return Said(client_uuid, None if media_type == OCTET_STREAM else media_type, texts, is_test)
