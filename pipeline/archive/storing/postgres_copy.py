"""Rows as PostgreSQL takes them with COPY in binary, in half the time the driver needs to write them.

The format is that of the manual's page on COPY, section "Binary Format": each field behind its length, in
the order of `Row`. Of the rows of a pack most texts are the same again and again; those are kept encoded.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import struct
from collections.abc import Sequence
from functools import lru_cache

from pipeline import limits_archive
from pipeline.archive.rows import Row
from pipeline.errors import BadInput

_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_FIELDS = struct.pack(">h", len(Row.__struct_fields__))
_NULL = b"\xff\xff\xff\xff"
_KEPT = 4096
"""Encoded texts of each kind that are kept."""
_SHORT_CHARACTERS = 256
"""What headers say is kept up to this length."""
_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

_length = struct.Struct(">i").pack
# Lengths and values: int8, uuid, int4; int8; truth values; int4, int8; time, bytes, int2.
_identity = struct.Struct(">iqi16sii").pack
_int8 = struct.Struct(">iq").pack
_truths = struct.Struct(">i?i?i?").pack
_place = struct.Struct(">iiiq").pack
_origin = struct.Struct(">iqi32sih").pack


async def chunks(rows: Sequence[Row]) -> list[bytes]:
    """Write rows of packs: all their columns but `cluster` and `event_key` have a value.

    The event loop gets a turn between any two chunks.

    Raises:
        BadInput: A value does not fit its column.
    """
    made = [_BEGIN]
    for start in range(0, len(rows), limits_archive.ARCHIVE_COPY_ROWS):
        made.append(_written(rows[start : start + limits_archive.ARCHIVE_COPY_ROWS]))
        await asyncio.sleep(0)
    return [*made, _END]


def _written(rows: Sequence[Row]) -> bytes:
    pieces: list[bytes] = []
    moment, microseconds = None, 0
    try:
        for row in rows:
            if row.ingested_at is not moment and row.ingested_at is not None:
                moment = row.ingested_at
                microseconds = (moment - _EPOCH) // _MICROSECOND
            pieces += (
                _begin(row.topic),
                _identity(8, row.timestamp, 16, row.uuid.bytes, 4, row.size),
                _where(row.key, row.bucket),
                _int8(8, row.crc32),
                _truths(1, row.is_client_uuid, 1, row.public, 1, row.direct_upload),
                _int8(8, row.message_crc32),
                _said(row),
                _place(4, row.kafka_partition, 8, row.kafka_offset),
                _cluster(row.cluster),
                _origin(8, microseconds, 32, row.sha256, 2, row.layout),
                _text(row.event_key),
                _int8(8, row.pack_offset),
            )
    except (struct.error, UnicodeEncodeError) as error:
        raise BadInput("store rows of a pack", str(error)) from error
    return b"".join(pieces)


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    data = value.encode()
    return _length(len(data)) + data


@lru_cache(_KEPT)
def _begin(topic: str) -> bytes:
    return _FIELDS + _text(topic)


@lru_cache(_KEPT)
def _where(key: str, bucket: str) -> bytes:
    return _text(key) + _text(bucket)


def _said(row: Row) -> bytes:
    said = (row.title, row.sender, row.media_type, row.file_name, row.originator)
    return _told(said) if sum(map(len, said)) <= _SHORT_CHARACTERS else b"".join(map(_text, said))


@lru_cache(_KEPT)
def _told(said: tuple[str, ...]) -> bytes:
    return b"".join(map(_text, said))


@lru_cache(_KEPT)
def _cluster(cluster: str | None) -> bytes:
    return _text(cluster)
