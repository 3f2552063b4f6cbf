"""A frame: some records of one partition as they lie on disk, guarded by a checksum.

A frame is self-contained and immutable. The same bytes go into the journal and into a segment file:

    header   body length u32, CRC-32 u32, base offset u64, offset span u32, records u32, newest time i64
    gaps     only when records < span (after compaction): offset minus base offset, u32 a record
    table    per record: time i64, key length i32, value length i32 (both -1 for none), headers length u32
    data     per record: key, value, headers (MessagePack list of name and value)

Integers are little-endian, times milliseconds since 1970 UTC. The checksum covers all but itself.
Lengths stand in a table apart from the data so that a frame is decoded in one pass without a parser.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from pipeline.log.port import Headers, Record

HEADER = struct.Struct("<IIQIIq")
_ROW = struct.Struct("<qiiI")
_GUARDED = struct.Struct("<IQIIq")
_NONE = -1

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode

Buffer = bytes | memoryview


class FrameHeader(NamedTuple):
    """The fixed part of a frame; `next` is the first offset after it."""

    body_bytes: int
    crc: int
    base: int
    span: int
    records: int
    newest_ms: int

    @property
    def next(self) -> int:
        """The offset after the last one the frame stands for."""
        return self.base + self.span

    @property
    def size_bytes(self) -> int:
        """Length of the whole frame."""
        return HEADER.size + self.body_bytes


class Rows:
    """Encoded records that have no offsets yet; they get them when they are written.

    Rows of the same partition are joined before writing, so a frame usually holds the records of many
    callers.
    """

    __slots__ = ("count", "newest_ms", "parts", "size_bytes", "table")

    def __init__(self) -> None:
        self.table = bytearray()
        self.parts: list[bytes] = []
        self.count = 0
        self.size_bytes = 0
        self.newest_ms = 0

    def add(self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int) -> None:
        """Append one record."""
        packed = _encode_headers(headers) if headers else b""
        key_bytes = _NONE if key is None else len(key)
        value_bytes = _NONE if value is None else len(value)
        self.table += _ROW.pack(timestamp_ms, key_bytes, value_bytes, len(packed))
        if key:
            self.parts.append(key)
        if value:
            self.parts.append(value)
        if packed:
            self.parts.append(packed)
        self.size_bytes += _ROW.size + max(key_bytes, 0) + max(value_bytes, 0) + len(packed)
        self.count += 1
        self.newest_ms = max(self.newest_ms, timestamp_ms)


def build(base: int, rows: Sequence[Rows]) -> bytes:
    """Return the frame of consecutive offsets that holds `rows` one after another."""
    body: list[bytes | bytearray] = [each.table for each in rows]
    for each in rows:
        body += each.parts
    count = sum(each.count for each in rows)
    return _seal(base, count, count, max(each.newest_ms for each in rows), body)


def build_sparse(records: Sequence[Record], base: int, following: int) -> bytes:
    """Return the frame that stands for the offsets `base` to before `following` but holds only `records`.

    Compaction writes these; a frame may be empty of records and still move readers on.
    """
    rows = Rows()
    for record in records:
        rows.add(record.key, record.value, record.headers, record.timestamp_ms)
    span, count = following - base, len(records)
    gaps = b"" if count == span else struct.pack(f"<{count}I", *(r.offset - base for r in records))
    return _seal(base, span, count, rows.newest_ms, [gaps, rows.table, *rows.parts])


def _seal(base: int, span: int, count: int, newest_ms: int, body: Sequence[bytes | bytearray]) -> bytes:
    length = sum(map(len, body))
    crc = 0
    for piece in body:
        crc = zlib.crc32(piece, crc)
    crc = zlib.crc32(_GUARDED.pack(length, base, span, count, newest_ms), crc)
    return b"".join([HEADER.pack(length, crc, base, span, count, newest_ms), *body])


def read_header(buffer: Buffer, position: int) -> FrameHeader | None:
    """Return the header at `position`; None when the buffer ends within it or it makes no sense."""
    if len(buffer) - position < HEADER.size:
        return None
    header = FrameHeader._make(HEADER.unpack_from(buffer, position))
    if header.records > header.span or header.records * _ROW.size > header.body_bytes or not header.span:
        return None
    return header


def intact(buffer: Buffer, position: int, header: FrameHeader) -> bool:
    """Tell whether the whole frame is in the buffer and is what was written."""
    start = position + HEADER.size
    end = start + header.body_bytes
    if len(buffer) < end:
        return False
    body_crc = zlib.crc32(memoryview(buffer)[start:end])
    guarded = _GUARDED.pack(header.body_bytes, header.base, header.span, header.records, header.newest_ms)
    return zlib.crc32(guarded, body_crc) == header.crc


def decode(buffer: bytes, position: int, header: FrameHeader, topic: str, partition: int) -> list[Record]:
    """Return the records of a frame that was found intact."""
    start = position + HEADER.size
    offsets: Iterable[int] = range(header.base, header.next)
    if header.records < header.span:
        gaps = struct.unpack_from(f"<{header.records}I", buffer, start)
        offsets = [header.base + gap for gap in gaps]
        start += 4 * header.records
    at = start + header.records * _ROW.size
    rows = _ROW.iter_unpack(memoryview(buffer)[start:at])
    records = []
    for offset, (timestamp_ms, key_bytes, value_bytes, headers_bytes) in zip(offsets, rows, strict=True):
        key = value = None
        if key_bytes >= 0:
            key = buffer[at : at + key_bytes]
            at += key_bytes
        if value_bytes >= 0:
            value = buffer[at : at + value_bytes]
            at += value_bytes
        headers: Headers = ()
        if headers_bytes:
            headers = _decode_headers(buffer[at : at + headers_bytes])
            at += headers_bytes
        records.append(Record(topic, partition, offset, timestamp_ms, key, value, headers))
    return records
