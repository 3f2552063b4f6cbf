"""Reading the documents of a restore, and checking each of them.

Documents that stand close together in a pack are fetched with one ranged request, so a pack is read once,
in order, in pieces of at most a window. Every document is compared with its row before anybody gets to see
it: size, CRC-32, topic, time, and the SHA-256 of its payload, or its CRC-32 where there is none.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar, cast

from pipeline import limits_archive
from pipeline.archive import bson
from pipeline.archive.restore.plan import PlannedRow
from pipeline.archive.restore.report import Failure
from pipeline.errors import BadInput, Damaged, NotFound
from pipeline.objects.port import ObjectStore

_HEAD = struct.Struct("<i9sib")
_FIRST = b"\x05message\x00"


class Large(NamedTuple):
    """A message whose document is too large for any record: all of it but its payload, empty here."""

    document: bson.Document


Read = bson.Document | Large | Failure
T = TypeVar("T")
_Kind = Literal["missing", "damaged", "too large"]


class _Span(NamedTuple):
    """A stretch of an object and which of the rows lie in it; `last` None means to the end."""

    key: str
    first: int
    last: int | None
    indexes: list[int]


class _Trouble(NamedTuple):
    """Why an object cannot be read."""

    kind: _Kind
    reason: str


async def read_rows(
    objects: ObjectStore,
    rows: Sequence[PlannedRow],
    make: Callable[[PlannedRow, Read], T],
    *,
    whole: bool,
) -> list[T]:
    """Read and check the documents of rows and make of each what is wanted, in the order of the rows.

    What cannot be read is handed to `make` as the reason why. Only with `whole` documents have their
    annotations.

    Raises:
        Unavailable: The store does not answer.
    """
    reading = _Reading(objects, rows, make, whole=whole)
    await _all(reading.fetch(span) for span in _spans(rows))
    return cast(list[T], reading.made)


class _Reading(Generic[T]):
    """Rows being read, and what was made of them so far."""

    def __init__(
        self,
        objects: ObjectStore,
        rows: Sequence[PlannedRow],
        make: Callable[[PlannedRow, Read], T],
        *,
        whole: bool,
    ) -> None:
        self.made: list[T | None] = [None] * len(rows)
        self._objects = objects
        self._rows = rows
        self._make = make
        self._whole = whole
        self._turn = asyncio.Semaphore(limits_archive.RESTORE_READS_AT_ONCE)

    async def fetch(self, span: _Span) -> None:
        """Read a span and make something of each of its rows."""
        rows = self._rows
        async with self._turn:
            row = rows[span.indexes[0]]
            if row.size > limits_archive.RESTORE_DOCUMENT_MAX_BYTES:
                self.made[span.indexes[0]] = self._make(row, await _read_large(self._objects, row))
                return
            data = await _get(self._objects, span)
            if isinstance(data, _Trouble):
                for index in span.indexes:
                    self.made[index] = self._make(rows[index], _failure(rows[index], *data))
                return
            for part in _parts(rows, span.indexes):
                if rows[part[0]].size > limits_archive.RESTORE_SLICE_BYTES:
                    await asyncio.to_thread(self._open, span, part, memoryview(data))
                else:
                    self._open(span, part, memoryview(data))
                    await asyncio.sleep(0)

    def _open(self, span: _Span, indexes: Sequence[int], data: memoryview) -> None:
        for index in indexes:
            row = self._rows[index]
            start = row.pack_offset - span.first if row.pack_offset else 0
            end = start + row.size if row.pack_offset is not None else len(data)
            self.made[index] = self._make(row, _open(row, data[start:end], whole=self._whole))


async def _all(work: Iterable[Coroutine[object, object, None]]) -> None:
    """Run coroutines at once; the first failure stops the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _spans(rows: Sequence[PlannedRow]) -> list[_Span]:
    """Put together what is read with one request."""
    packed: dict[str, list[int]] = {}
    spans = []
    for index, row in enumerate(rows):
        if row.pack_offset is None:
            spans.append(_Span(row.key, 0, None, [index]))
        elif row.size > limits_archive.RESTORE_DOCUMENT_MAX_BYTES:
            spans.append(_Span(row.key, row.pack_offset, row.pack_offset + row.size - 1, [index]))
        else:
            packed.setdefault(row.key, []).append(index)
    for key, indexes in packed.items():
        spans += _stretches(key, rows, indexes)
    return spans


def _stretches(key: str, rows: Sequence[PlannedRow], indexes: list[int]) -> list[_Span]:
    indexes.sort(key=lambda index: rows[index].pack_offset or 0)
    spans: list[_Span] = []
    here: list[int] = []
    first = end = 0
    for index in indexes:
        row = rows[index]
        start = row.pack_offset or 0
        if here and start - end > limits_archive.RESTORE_GAP_BYTES:
            spans.append(_Span(key, first, end - 1, here))
            here = []
        if not here:
            first = end = start
        here.append(index)
        end = max(end, start + row.size)
    return [*spans, _Span(key, first, end - 1, here)]


async def _get(objects: ObjectStore, span: _Span) -> bytes | _Trouble:
    try:
        download = await objects.get(span.key, first=span.first, last=span.last)
        return b"".join([chunk async for chunk in download])
    except NotFound as error:
        return _Trouble("missing", str(error))
    except (BadInput, Damaged) as error:
        return _Trouble("damaged", str(error))


def _parts(rows: Sequence[PlannedRow], indexes: Sequence[int]) -> Iterator[list[int]]:
    """Cut the rows of a span into parts that keep others waiting for a moment only, large ones alone."""
    part: list[int] = []
    size_bytes = 0
    for index in indexes:
        if part and size_bytes + rows[index].size > limits_archive.RESTORE_SLICE_BYTES:
            yield part
            part, size_bytes = [], 0
        part.append(index)
        size_bytes += rows[index].size
    yield part


def _open(row: PlannedRow, data: memoryview, *, whole: bool) -> bson.Document | Failure:
    """Decode a document when it is the one its row describes."""
    if len(data) != row.size:
        return _failure(row, "damaged", f"it has {len(data)} bytes, its row says {row.size}")
    if (crc32 := zlib.crc32(data)) != row.crc32:
        return _failure(row, "damaged", f"CRC-32 {crc32}, its row says {row.crc32}")
    try:
        document = bson.decode(bytes(data)) if whole else bson.decode_sent(data)
    except Damaged as error:
        return _failure(row, "damaged", str(error))
    wrong = _contradiction(row, document)
    return document if wrong is None else _failure(row, "damaged", wrong)


def _contradiction(row: PlannedRow, document: bson.Document) -> str | None:
    """Say what of a message is not as its row says."""
    payload = document.payload
    if (document.topic, document.timestamp_ms) != (row.topic, row.timestamp):
        return "it is a message of another topic or time than its row says"
    if row.sha256 is not None:
        same = hashlib.sha256(payload).digest() == row.sha256
        return None if same else "the SHA-256 of its payload is not what its row says"
    same = zlib.crc32(payload) == row.message_crc32
    return None if same else "the CRC-32 of its payload is not what its row says"


async def _read_large(objects: ObjectStore, row: PlannedRow) -> Large | Failure:
    """Read a document that no record can hold, dropping its payload on the way."""
    first = row.pack_offset or 0
    kept = bytearray()
    payload_end = crc32 = position = 0
    try:
        download = await objects.get(row.key, first=first, last=first + row.size - 1)
        async for chunk in _begun(download):
            crc32 = zlib.crc32(chunk, crc32)
            if not position:
                payload_end = _payload_end(chunk)
                kept += chunk[: _HEAD.size]
            kept += chunk[max(payload_end - position, 0) :]
            position += len(chunk)
            if len(kept) > limits_archive.RESTORE_DOCUMENT_MAX_BYTES:
                return _failure(row, "too large", f"its document has {row.size} bytes")
    except NotFound as error:
        return _failure(row, "missing", str(error))
    except (BadInput, Damaged) as error:
        return _failure(row, "damaged", str(error))
    if (position, crc32) != (row.size, row.crc32):
        return _failure(row, "damaged", f"{position} bytes with CRC-32 {crc32} are not what its row says")
    _HEAD.pack_into(kept, 0, len(kept), _FIRST, 0, 0)
    try:
        return Large(bson.decode(bytes(kept)))
    except Damaged as error:
        return _failure(row, "damaged", str(error))


async def _begun(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Give chunks of which the first one holds the whole beginning of a document."""
    begin = b""
    begun = False
    async for chunk in chunks:
        if begun:
            yield chunk
            continue
        begin += chunk
        if len(begin) >= _HEAD.size:
            begun = True
            yield begin


def _payload_end(chunk: bytes) -> int:
    """Say where the payload of a document ends; where it would begin when it does not come first."""
    _, name, length, _ = _HEAD.unpack_from(chunk)
    return _HEAD.size + length if name == _FIRST and length > 0 else _HEAD.size


def _failure(row: PlannedRow, kind: _Kind, reason: str) -> Failure:
    return Failure(row.uuid, row.topic, kind, reason)
