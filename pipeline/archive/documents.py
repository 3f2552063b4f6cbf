"""Archived objects on their way out: checked against their rows, read together where they lie together.

Nothing leaves here as whole that is not what its row says. The objects of a page are read and checked
before the first byte is handed on; a single one is handed on while it is read, but for its last piece,
which comes only when the checksum of all is right: a damaged object ends too early, it never ends well.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from uuid import UUID

import structlog

from pipeline import limits, limits_archive
from pipeline.archive.bson_stream import BINARY, DOCUMENT, BrokenBson, BsonReader
from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import BadInput, Damaged, NotFound
from pipeline.objects.port import Download, ObjectStore

log = structlog.get_logger(__name__)


async def open_document(objects: ObjectStore, row: ArchivedRow) -> AsyncIterator[bytes]:
    """Yield the object of a row in pieces, the last one only when all of it is what the row says.

    Raises:
        NotFound: It is not in the store. Damaged: It is not what the row says.
        Unavailable: The store does not answer.
    """
    download = await _get(objects, row, row.size)
    async for piece in _checked(aiter(download), row.key, row.size, row.crc32):
        yield piece


async def open_payload(objects: ObjectStore, row: ArchivedRow) -> tuple[int, AsyncIterator[bytes]]:
    """Give the size of a row's payload and its bytes in pieces, with the promise of `open_document`.

    The object is read once, and no more of it is held than a piece. Raises as `open_document` does.
    """
    reader = BsonReader(aiter(await _get(objects, row, row.size)))
    try:
        await reader.start()
        while element := await reader.element():
            if element.name == "message" and element.kind == DOCUMENT:
                await reader.enter()  # the older layout, whose payload is called content
            elif element.name in {"message", "content"} and element.kind == BINARY:
                size_bytes, pieces = await reader.binary()
                return size_bytes, _checked(pieces, row.key, size_bytes, row.message_crc32)
    except BrokenBson as error:
        raise Damaged(f"read the archived object {row.key}", error.why) from error
    raise Damaged(f"read the archived object {row.key}", "it has no payload")


async def is_whole(objects: ObjectStore, row: ArchivedRow) -> bool:
    """Read an object to its end and say whether it is what its row says; no, is logged."""
    try:
        async for _ in open_document(objects, row):
            pass
    except (NotFound, Damaged) as error:
        _left_out(row, error)
        return False
    return True


async def read_documents(objects: ObjectStore, rows: Iterable[ArchivedRow]) -> dict[UUID, bytes]:
    """Read the objects of rows into memory, those that follow each other in a pack with one request.

    One that is missing or not what its row says is left out, and logged. Raises `Unavailable`.
    """
    found: dict[UUID, bytes] = {}
    waiting = iter(runs(rows))

    async def worker() -> None:
        for run in waiting:
            found.update(await _read_run(objects, run))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(limits_archive.ARCHIVE_READS_AT_ONCE):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return found


def runs(rows: Iterable[ArchivedRow]) -> list[list[ArchivedRow]]:
    """Put together the rows whose objects lie side by side in a pack; every other one stands alone."""
    together: list[list[ArchivedRow]] = []
    end: tuple[str, int] | None = None
    for row in sorted(rows, key=lambda row: (row.key, row.pack_offset or 0)):
        if row.pack_offset is not None and (row.key, row.pack_offset) == end:
            together[-1].append(row)
        else:
            together.append([row])
        end = None if row.pack_offset is None else (row.key, row.pack_offset + row.size)
    return together


async def _read_run(objects: ObjectStore, run: Sequence[ArchivedRow]) -> dict[UUID, bytes]:
    size_bytes = sum(row.size for row in run)
    try:
        download = await _get(objects, run[0], size_bytes)
    except (NotFound, Damaged) as error:
        if isinstance(error, Damaged) and len(run) > 1:
            # A pack that is cut off still has those before the cut.
            halves = run[: len(run) // 2], run[len(run) // 2 :]
            return await _read_run(objects, halves[0]) | await _read_run(objects, halves[1])
        for row in run:
            _left_out(row, error)
        return {}
    data = b"".join([piece async for piece in download])
    if size_bytes <= limits.CHUNK_BYTES:
        return _taken_apart(run, data)
    return await asyncio.to_thread(_taken_apart, run, data)


def _taken_apart(run: Sequence[ArchivedRow], data: bytes) -> dict[UUID, bytes]:
    found: dict[UUID, bytes] = {}
    first = 0
    for row in run:
        document = data[first : first + row.size]
        first += row.size
        if zlib.crc32(document) == row.crc32 and len(document) == row.size:
            found[row.uuid] = document
        else:
            _left_out(row, Damaged(f"read the archived object {row.key}", "its CRC-32 is not its row's"))
    return found


async def _get(objects: ObjectStore, row: ArchivedRow, size_bytes: int) -> Download:
    """Open so many bytes from where a row's object begins; raises as `open_document` does."""
    first = row.pack_offset or 0
    last = None if row.pack_offset is None else first + size_bytes - 1
    tried = f"read the archived object {row.key}"
    try:
        download = await objects.get(row.key, first=first, last=last)
    except BadInput as error:
        raise Damaged(tried, f"it ends before offset {first}") from error
    if download.length_bytes != size_bytes:
        raise Damaged(tried, f"size {download.length_bytes}, its row says {size_bytes}")
    return download


async def _checked(
    pieces: AsyncIterator[bytes], key: str, size_bytes: int, crc32: int
) -> AsyncIterator[bytes]:
    """Pass pieces on one late, so that the last one can be kept back."""
    held, found_bytes, found_crc32 = b"", 0, 0
    async for piece in pieces:
        if held:
            yield held
        held = piece
        found_bytes += len(piece)
        found_crc32 = zlib.crc32(piece, found_crc32)
    if (found_bytes, found_crc32) != (size_bytes, crc32):
        why = f"size {found_bytes} and CRC-32 {found_crc32}, its row says {size_bytes} and {crc32}"
        raise Damaged(f"read the archived object {key}", why)
    if held:
        yield held


def _left_out(row: ArchivedRow, error: Exception) -> None:
    log.warning("a message is left out of a list", uuid=str(row.uuid), key=row.key, reason=str(error))
