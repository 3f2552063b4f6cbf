"""Reading a batch of Kafka that holds header names which are not UTF-8.

Kafka takes any bytes as the name of a header; aiokafka refuses the whole batch of such a record, and so
would never get past it. Here the bytes that are no UTF-8 become lone surrogates (``surrogateescape``), from
which they can be had back; whoever stores or sends such a name has to refuse the record.

The format is that of record batches, version 2 (https://kafka.apache.org/documentation/#recordbatch);
older ones have no headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from aiokafka import codec, errors
from aiokafka.record.util import decode_varint

from pipeline.log.port import Headers, Record, TopicPartition

_HEAD = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, version, checksum, attributes, last offset delta, first and greatest
time, producer id and epoch, first sequence number, count of records."""
_VERSION = 2
_CODEC_BITS = 0x07
_APPEND_TIME_BIT = 0x08
_DECODERS: tuple[Callable[[bytes], bytes], ...] = (
    bytes,
    codec.gzip_decode,
    codec.snappy_decode,
    codec.lz4_decode,
    codec.zstd_decode,
)


def records_in_batch(batch: bytes, place: TopicPartition) -> list[Record]:
    """Return all records of one batch, whose checksum was found right.

    Raises:
        CorruptRecordException: It is not what the format says.
    """
    head = _HEAD.unpack_from(batch)
    base_offset, _, _, version, _, attributes, _, first_ms, greatest_ms, *_, count = head
    if version != _VERSION:
        raise errors.CorruptRecordException(f"a batch at offset {base_offset} has version {version}")
    appended = bool(attributes & _APPEND_TIME_BIT)
    records = []
    try:
        body = _Body(_DECODERS[attributes & _CODEC_BITS](batch[_HEAD.size :]))
        for _ in range(count):
            body.number()  # its length
            body.take(1)  # its attributes: none are in use
            time_delta, offset_delta = body.number(), body.number()
            records.append(
                Record(
                    *place,
                    base_offset + offset_delta,
                    greatest_ms if appended else first_ms + time_delta,
                    body.block(),
                    body.block(),
                    body.headers(),
                    appended,
                )
            )
    except (ValueError, IndexError, struct.error) as error:
        raise errors.CorruptRecordException(f"a batch at offset {base_offset}: {error!r}") from error
    return records


class _Body:
    """The records of a batch, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._at = 0

    def number(self) -> int:
        number, self._at = decode_varint(self._data, self._at)
        return int(number)

    def take(self, size_bytes: int) -> bytes:
        end = self._at + size_bytes
        if size_bytes < 0 or end > len(self._data):
            raise ValueError(f"{size_bytes} bytes at {self._at} of {len(self._data)}")
        taken, self._at = bytes(self._data[self._at : end]), end
        return taken

    def block(self) -> bytes | None:
        size_bytes = self.number()
        return None if size_bytes < 0 else self.take(size_bytes)

    def headers(self) -> Headers:
        return tuple(
            (self.take(self.number()).decode("utf-8", "surrogateescape"), self.block())
            for _ in range(self.number())
        )
