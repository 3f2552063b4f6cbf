"""The row of an archived message (archive contract, sections 9 and 12): it always describes its object."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from pipeline import limits_archive
from pipeline.archive import bson
from pipeline.errors import Damaged

LAYOUT = 2
"""Layout of the objects written today."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row to be written: the columns of `pipeline.database.tables.messages` that have no default."""

    topic: str
    timestamp: int
    uuid: UUID
    size: int
    key: str
    bucket: str
    crc32: int
    is_client_uuid: bool
    public: bool
    direct_upload: bool
    message_crc32: int
    title: str
    sender: str
    media_type: str
    file_name: str
    originator: str
    kafka_partition: int | None
    kafka_offset: int | None
    cluster: str | None
    ingested_at: dt.datetime | None
    sha256: bytes | None
    layout: int
    event_key: str | None
    pack_offset: int | None


class Location(msgspec.Struct, frozen=True, gc=False):
    """The document of a row, as written: `size_bytes` and `crc32` are its own.

    It is the whole object, unless `pack_offset` says where in a pack it begins.
    """

    key: str
    bucket: str
    size_bytes: int
    crc32: int
    pack_offset: int | None = None


def make_row(
    annotations: Mapping[str, Any],
    where: Location,
    *,
    uuid: UUID,
    topic: str,
    timestamp_ms: int,
    record_key: bytes | str | None,
    layout: int = LAYOUT,
) -> Row:
    """Build the row of an object from what the object says.

    The uuid is the one in its annotations and in its key. Annotations of ours may be missing, as in
    objects upstream wrote; upstream's must be there.

    Raises:
        KeyError: One of upstream's is not. ValueError: A hash is none.
    """
    note = annotations.get
    ingest_time, sha256 = note("ingest_time"), note("sha256")
    # By position, which takes half the time; in the order of the fields.
    return Row(
        topic,
        timestamp_ms,
        uuid,
        where.size_bytes,
        where.key,
        where.bucket,
        where.crc32,
        annotations["con_is_client_uuid"],
        note("public", False),
        note("direct_upload", False),
        int(annotations["con_message_crc32"]),
        storable_text(note("title", "")),
        storable_text(note("sender", "")),
        storable_text(note("media_type", "")),
        storable_text(note("file_name", "")),
        storable_text(note("originator", "")),
        note("partition"),
        note("offset"),
        note("cluster"),
        None if ingest_time is None else moment(ingest_time),
        None if sha256 is None else bytes.fromhex(sha256),
        layout,
        event_key(record_key),
        where.pack_offset,
    )


@lru_cache(maxsize=limits_archive.ARCHIVE_BATCH_MESSAGES)
def moment(unix_ms: int) -> dt.datetime:
    """Give the moment of a time; the messages of a batch share one."""
    return _EPOCH + dt.timedelta(milliseconds=unix_ms)


def found_row(document: bytes, key: str, bucket: str, pack_offset: int | None = None) -> Row:
    """Build the row of a document that lies in the store, from what it says.

    Raises:
        Damaged: It is no archived message.
    """
    found = bson.decode(document)
    try:
        return make_row(
            found.annotations,
            Location(key, bucket, len(document), zlib.crc32(document), pack_offset),
            uuid=UUID(found.annotations["con_text_uuid"]),
            topic=found.topic,
            timestamp_ms=found.timestamp_ms,
            record_key=found.key,
            layout=found.layout,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"read the archived object {key}", f"bad annotation: {error}") from error


def event_key(record_key: bytes | str | None) -> str | None:
    """Give the record key as its column holds it, None when it is no short text.

    An index entry is bounded and PostgreSQL's text cannot hold NUL; the object has the key in any case.
    """
    if record_key is None or len(record_key) > limits_archive.EVENT_KEY_MAX_BYTES:
        return None
    try:
        text = record_key.decode() if isinstance(record_key, bytes) else record_key
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def storable_text(value: str) -> str:
    """Replace what PostgreSQL's text cannot hold: NUL; the object has what was sent."""
    return value.replace("\0", _REPLACEMENT) if "\0" in value else value
