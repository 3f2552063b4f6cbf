"""The object that holds many messages: their BSON documents one after another, and nothing else.

Each document begins with its own length, so a pack is read without the database: cut it into documents
with `documents` or `split`, and decode each with `pipeline.archive.bson`. The rows of its messages say
where each begins, for reading one with a ranged request.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import NamedTuple
from uuid import UUID

from pipeline.archive.bson import DOCUMENT_MAX_BYTES
from pipeline.archive.keys import archive_key
from pipeline.errors import Damaged

_LENGTH = struct.Struct("<i")
_SHORTEST_BYTES = 5
"""An empty BSON document: its length and its end."""


class Part(NamedTuple):
    """One document of a pack, and where in it it begins."""

    offset: int
    document: bytes


def pack_key(topic: str, timestamp_ms: int, uuid: UUID, prefix: str = "") -> str:
    """Give the key: ``<prefix><topic>/<year>/<month>/<day>/<hour>/<uuid>.pack``.

    Time and uuid are those of the first message, the uuid made from its place, so no two packs share one.
    Folders are those of single objects: UTC, not padded.

    Raises:
        BadInput: The topic is no topic's name.
    """
    return archive_key(topic, timestamp_ms, uuid, prefix).removesuffix(".bson") + ".pack"


async def documents(chunks: AsyncIterable[bytes]) -> AsyncIterator[Part]:
    """Cut a pack into its documents while it arrives; holds one chunk and one document at a time.

    Raises:
        Damaged: The bytes are no documents, or end within one; those before were given out.
    """
    cutter = _Cutter()
    async for chunk in chunks:
        for part in cutter.feed(chunk):
            yield part
    cutter.end()


def split(data: bytes) -> Iterator[Part]:
    """Cut a whole pack into its documents. Raises `Damaged` as `documents`."""
    cutter = _Cutter()
    yield from cutter.feed(data)
    cutter.end()


class _Cutter:
    """Finds the documents in bytes that come piece by piece."""

    def __init__(self) -> None:
        self._offset = 0
        self._pieces: list[bytes] = []
        self._missing_bytes = _LENGTH.size

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """Give the documents that end in this piece."""
        self._pieces.append(chunk)
        self._missing_bytes -= len(chunk)
        if self._missing_bytes > 0:
            return
        data = b"".join(self._pieces)
        start, end = 0, len(data)
        while end - start >= _LENGTH.size:
            length = self._length(data, start)
            if end - start < length:
                break
            document = data[start : start + length]
            if document[-1]:
                raise self._damaged("a document does not end where its length says")
            yield Part(self._offset, document)
            start += length
            self._offset += length
        self._pieces = [data[start:]] if start < end else []
        rest = end - start
        wanted = self._length(data, start) if rest >= _LENGTH.size else _LENGTH.size
        self._missing_bytes = wanted - rest

    def end(self) -> None:
        """Say that nothing more comes. Raises `Damaged` when a document is not whole."""
        if any(self._pieces):
            raise self._damaged("it ends within a document")

    def _length(self, data: bytes, start: int) -> int:
        (length,) = _LENGTH.unpack_from(data, start)
        if not _SHORTEST_BYTES <= length <= DOCUMENT_MAX_BYTES:
            raise self._damaged(f"a document says it has {length} bytes")
        return int(length)

    def _damaged(self, why: str) -> Damaged:
        return Damaged("cut a pack into documents", f"{why}, at offset {self._offset}")
