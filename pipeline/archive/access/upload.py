"""A message handed in over HTTP: read from its BSON while it arrives, and checked.

A small payload is held in memory; a larger one goes to local disk as it arrives and is mapped from there
while it is hashed and stored, so that memory stays flat whatever its size (archive contract, sections 13
and 17.1).
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline import limits_archive
from pipeline.archive import bson
from pipeline.archive.bson_stream import BINARY, BrokenBson, BsonReader, Element
from pipeline.archive.message import Message
from pipeline.errors import BadInput
from pipeline.log.port import Headers
from pipeline.objects.drafts import FileDraft
from pipeline.objects.scratch import Scratch
from pipeline.objects.threads import Threads

SENDER_HEADER = "_sender"
NO_BSON = "Request must be valid BSON"
_PARTS = ("message", "headers", "key")


class Refusal(BadInput):
    """An upload that is not as it must be; `why` says it in the words clients know."""


class Upload(NamedTuple):
    """What was handed in. The payload may be mapped from a file that lasts as long as its `receive`."""

    payload: bytes
    headers: Headers
    key: bytes

    def message(self, topic: str, sender: str, timestamp_ms: int) -> Message:
        """Make the message to be archived: sent by `sender` unless it says otherwise, at its arrival."""
        headers = self.headers
        if all(name != SENDER_HEADER for name, _ in headers):
            headers = (*headers, (SENDER_HEADER, sender.encode()))
        return Message(topic, None, None, timestamp_ms, self.key, self.payload, headers, direct_upload=True)


class Spool:
    """Local disk for payloads that are too large to be held in memory."""

    def __init__(self, folder: Path) -> None:
        self._scratch = Scratch(folder)
        self._threads = Threads("archive uploads", limits_archive.ARCHIVE_UPLOADS_AT_ONCE)
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Remove what is left; safe to repeat."""
        if self._threads.is_open:
            await self._threads.run(self._scratch.close)
            await self._threads.close()

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[FileDraft]:
        """Give a file that is removed on leaving. Its use raises `StorageFull` or `Unavailable`."""
        async with self._opening:
            self._threads.open()
            await self._threads.run(self._scratch.open)
        draft = FileDraft(self._scratch, self._threads)
        try:
            yield draft
        finally:
            await draft.discard()


async def receive(chunks: AsyncIterator[bytes], draft: FileDraft) -> Upload:
    """Read an upload while it arrives.

    Args:
        chunks: The body; what it raises is passed on.
        draft: Takes the payload when it is large, which is then read from there.

    Raises:
        Refusal: It is not as it must be.
        StorageFull: No room on local disk. Unavailable: It fails.
    """
    reader = BsonReader(chunks)
    found: dict[str, Any] = {}
    try:
        await reader.start()
        while element := await reader.element():
            if element.name not in _PARTS:
                raise _refused(f"Unsupported key in request body: {element.name}")
            if element.name in found:
                raise _refused(NO_BSON)
            found[element.name] = await _read(reader, element, draft)
        await reader.finish()
    except BrokenBson as error:
        raise _refused(NO_BSON) from error
    if "message" not in found:
        raise _refused("Missing message key in request body")
    return Upload(found["message"], _headers(found.get("headers")), _key(found.get("key", b"")))


async def _read(reader: BsonReader, element: Element, draft: FileDraft) -> Any:
    if element.name == "message":
        if element.kind != BINARY:
            raise _refused("Message is not binary data")
        return await _payload(*await reader.binary(), draft)
    if element.size_bytes > limits_archive.ARCHIVE_UPLOAD_REST_BYTES:
        raise _refused(f"Headers and key have more than {limits_archive.ARCHIVE_UPLOAD_REST_BYTES} bytes")
    value = await reader.value()
    try:
        return bson.read_value(element.kind, value)
    except BadInput as error:
        raise _refused(NO_BSON) from error


async def _payload(size_bytes: int, pieces: AsyncIterator[bytes], draft: FileDraft) -> bytes:
    if size_bytes <= limits_archive.ARCHIVE_UPLOAD_MEMORY_BYTES:
        return b"".join([piece async for piece in pieces])
    async for piece in pieces:
        await draft.write(piece)
    # What is done with a payload (hashing, slicing, comparing) a view does just as bytes do.
    return cast("bytes", await asyncio.to_thread(_mapped, await draft.local()))


def _mapped(path: Path) -> memoryview:
    """Give the bytes of a file without reading them; they stay when the file is removed."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _headers(value: Any) -> Headers:
    """Read headers, a mapping or a list of pairs."""
    if value is None:
        return ()
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise _refused("Headers must be a mapping or a list of pairs")
    for name, content in pairs:
        if not isinstance(content, bytes):
            raise _refused(f"Header with key {name} is not binary data")
    return tuple((name, bytes(content)) for name, content in pairs)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)  # noqa: PLR2004


def _key(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise _refused("Message key is not binary or a string")
    return bytes(value)


def _refused(message: str) -> Refusal:
    return Refusal("upload a message", message)
