"""A message on its way into the archive: what was computed from it, and the object and row it becomes."""

from __future__ import annotations

import hashlib
import zlib
from typing import NamedTuple

from pipeline.archive import bson, bson_writer
from pipeline.archive.annotations import Annotations, add_circumstances, add_ours, base
from pipeline.archive.bson_writer import Told
from pipeline.archive.identity import Identity, identify
from pipeline.archive.keys import archive_key
from pipeline.archive.message import Content, Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.rows import LAYOUT, Location, Row, event_key, found_row, moment, storable_text
from pipeline.archive.storing import dedupe
from pipeline.archive.text.text import Text
from pipeline.errors import TooLarge


class Target(NamedTuple):
    """Where a writer puts objects, and how large they may be."""

    prefix: str
    bucket: str
    object_max_bytes: int


class Draft(dedupe.Subject, kw_only=True, gc=False):
    """A message, what was computed from it once, and what is known of its way so far."""

    identity: Identity
    public: bool
    ingest_time_ms: int
    media_type: str = ""
    text: Text | None = None
    """What is searched of it; None where its topic is not searched."""
    held: Row | None = None
    """The row of its object, once that is known to be in the store."""
    outcome: Outcome | None = None

    @property
    def stored(self) -> bool:
        """Whether it is known to be durable."""
        return self.outcome is not None and self.outcome.stored


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


def encode(draft: Draft, choice: dedupe.Fresh, object_max_bytes: int) -> tuple[Told, bson.Encoded]:
    """Write the document of a draft under the uuid chosen; give what it says of itself beside it.

    Raises:
        BadInput: The message can never be archived: a header name is no text, or it is too large.
    """
    message, texts = draft.message, draft.identity.said.texts.get
    told = Told(
        draft.media_type,
        texts("title", ""),
        texts("_sender", ""),
        texts("file_name", ""),
        texts("originator", ""),
    )
    encoded = bson_writer.write(draft, told, choice.uuid, choice.is_client_uuid)
    if encoded is None:
        encoded = encode_slowly(draft, choice)
    if encoded.size_bytes > object_max_bytes:
        raise TooLarge(
            f"archive a message of topic {message.topic}",
            f"its object has {encoded.size_bytes} bytes, the limit is {object_max_bytes}",
        )
    return told, encoded


def encode_slowly(draft: Draft, choice: dedupe.Fresh) -> bson.Encoded:
    """Write the document of any draft. Raises `BadInput` when a header name is no text, `TooLarge`."""
    message = draft.message
    return bson.encode(
        message.payload,
        timestamp_ms=message.timestamp_ms,
        headers=draft.identity.headers,
        key=message.key,
        topic=message.topic,
        annotations=_annotate(draft, choice),
    )


def row_of(draft: Draft, choice: dedupe.Fresh, told: Told, where: Location) -> Row:
    """Make the row of a draft whose document lies there: the one `found_row` makes of that."""
    message = draft.message
    # By position, which takes half the time; in the order of the fields.
    return Row(
        message.topic,
        message.timestamp_ms,
        choice.uuid,
        where.size_bytes,
        where.key,
        where.bucket,
        where.crc32,
        choice.is_client_uuid,
        draft.public,
        message.direct_upload,
        draft.content.crc32,
        storable_text(told.title),
        storable_text(told.sender),
        storable_text(told.media_type),
        storable_text(told.file_name),
        storable_text(told.originator),
        message.partition,
        message.offset,
        draft.cluster or None,
        moment(draft.ingest_time_ms),
        draft.sha256,
        LAYOUT,
        event_key(message.key),
        where.pack_offset,
    )


def prepare(draft: Draft, choice: dedupe.Fresh, target: Target) -> Prepared:
    """Make the object of a draft under the uuid chosen, and its row.

    Raises:
        BadInput: The message can never be archived: its topic or a header name is none, it is too large.
    """
    if draft.held is not None and draft.held.uuid == choice.uuid:
        return Prepared(draft.held, None)
    message = draft.message
    key = archive_key(message.topic, message.timestamp_ms, choice.uuid, target.prefix)
    told, encoded = encode(draft, choice, target.object_max_bytes)
    where = Location(key, target.bucket, encoded.size_bytes, encoded.crc32())
    return Prepared(row_of(draft, choice, told, where), encoded)


def _annotate(draft: Draft, choice: dedupe.Fresh) -> Annotations:
    message = draft.message
    notes = base(
        message,
        uuid=choice.uuid,
        is_client_uuid=choice.is_client_uuid,
        crc32=draft.content.crc32,
        public=draft.public,
        media_type=draft.media_type,
        texts=draft.identity.said.texts,
        text_fully_indexed=None if draft.text is None else draft.text.fully,
    )
    add_ours(notes, message, draft.identity.added)
    add_circumstances(
        notes,
        message,
        cluster=draft.cluster,
        ingest_time_ms=draft.ingest_time_ms,
        sha256=draft.sha256,
        is_test=draft.identity.said.is_test,
    )
    return notes


def recognise(draft: Draft, planned: Row, data: bytes) -> Row | None:
    """Give the row of an object that lies under a draft's key already, None when it is another message.

    The object was left by a writer that was stopped before its row was written, or that is about to write
    it. The row describes the object as it is, not as it would have been written now: the time of an upload
    is that of its first arrival.

    Raises:
        Damaged: It is no archived message.
    """
    row = found_row(data, planned.key, planned.bucket)
    same = (
        (row.uuid, row.topic) == (planned.uuid, planned.topic)
        and (row.timestamp == planned.timestamp or draft.message.direct_upload)
        and bson.payload_of(data) == draft.message.payload
    )
    return row if same else None
