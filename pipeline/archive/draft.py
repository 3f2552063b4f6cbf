"""A message on its way into the archive: what was computed from it, and the object and row it becomes."""

from __future__ import annotations

import hashlib
import zlib
from typing import NamedTuple
from uuid import UUID

from pipeline.archive import bson, dedupe
from pipeline.archive.annotations import base, circumstances, ours
from pipeline.archive.identity import Identity, identify
from pipeline.archive.keys import archive_key
from pipeline.archive.message import Content, Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.rows import Location, Row, make_row
from pipeline.errors import Damaged, TooLarge


class Target(NamedTuple):
    """Where a writer puts objects, and how large they may be."""

    prefix: str
    bucket: str
    object_max_bytes: int


class Draft(dedupe.Subject, kw_only=True):
    """A message, what was computed from it once, and what is known of its way so far."""

    identity: Identity
    public: bool
    ingest_time_ms: int
    media_type: str = ""
    held: Row | None = None
    """The row of its object, once that is known to be in the store."""
    outcome: Outcome | None = None


class Prepared(NamedTuple):
    """The row and the object of a draft, ready to be written; `encoded` is None when the object is."""

    row: Row
    encoded: bson.Encoded | None


def make_draft(message: Message, *, cluster: str, public: bool, ingest_time_ms: int) -> Draft:
    """Compute what does not depend on anything but the message."""
    identity = identify(message, cluster)
    payload = message.payload
    return Draft(
        message=message,
        cluster=cluster,
        sha256=hashlib.sha256(payload).digest(),
        uuid=identity.uuid,
        is_client_uuid=identity.is_client_uuid,
        content=Content(message.topic, message.timestamp_ms, zlib.crc32(payload)),
        place=message.place(cluster),
        identity=identity,
        public=public,
        ingest_time_ms=ingest_time_ms,
    )


def prepare(draft: Draft, choice: dedupe.Fresh, target: Target) -> Prepared:
    """Encode the object of a draft under the uuid chosen, and make its row.

    Raises:
        BadInput: The message can never be archived: its topic or a header name is none, it is too large.
    """
    if draft.held is not None and draft.held.uuid == choice.uuid:
        return Prepared(draft.held, None)
    message = draft.message
    key = archive_key(message.topic, message.timestamp_ms, choice.uuid, target.prefix)
    notes = _annotate(draft, choice)
    encoded = bson.encode(
        message.payload,
        timestamp_ms=message.timestamp_ms,
        headers=draft.identity.headers,
        key=message.key,
        topic=message.topic,
        annotations=notes,
    )
    if encoded.size_bytes > target.object_max_bytes:
        raise TooLarge(
            f"archive a message of topic {message.topic}",
            f"its object has {encoded.size_bytes} bytes, the limit is {target.object_max_bytes}",
        )
    where = Location(key, target.bucket, encoded.size_bytes, encoded.crc32())
    row = make_row(
        notes,
        where,
        uuid=choice.uuid,
        topic=message.topic,
        timestamp_ms=message.timestamp_ms,
        record_key=message.key,
    )
    return Prepared(row, encoded)


def _annotate(draft: Draft, choice: dedupe.Fresh) -> dict[str, object]:
    message = draft.message
    return {
        **base(
            message,
            uuid=choice.uuid,
            is_client_uuid=choice.is_client_uuid,
            crc32=draft.content.crc32,
            public=draft.public,
            media_type=draft.media_type,
        ),
        **ours(message, added_headers=draft.identity.added),
        **circumstances(
            message, cluster=draft.cluster, ingest_time_ms=draft.ingest_time_ms, sha256=draft.sha256
        ),
    }


def recognise(draft: Draft, planned: Row, data: bytes) -> Row | None:
    """Give the row of an object that lies under a draft's key already, None when it is another message.

    The object was left by a writer that was stopped before its row was written, or that is about to write
    it. The row describes the object as it is, not as it would have been written now.

    Raises:
        Damaged: It is no archived message.
    """
    found = bson.decode(data)
    where = Location(planned.key, planned.bucket, len(data), zlib.crc32(data))
    try:
        row = make_row(
            found.annotations,
            where,
            uuid=UUID(found.annotations["con_text_uuid"]),
            topic=found.topic,
            timestamp_ms=found.timestamp_ms,
            record_key=found.key,
            layout=found.layout,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"read the archived object {planned.key}", f"bad annotation: {error}") from error
    same = (
        row.uuid == planned.uuid
        and (row.topic, row.timestamp) == (planned.topic, planned.timestamp)
        and found.payload == draft.message.payload
    )
    return row if same else None
