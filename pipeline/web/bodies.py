"""Request bodies as streams: with a time limit on silence and a limit on size, raw or out of a form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from aiohttp import BodyPartReader, web

from pipeline import limits, metrics
from pipeline.errors import BadInput, TooLarge
from pipeline.web.problems import BodyTimeout

FORM = "multipart/form-data"
_TRIED = "receive the object"
_FIELDS_MAX = 16


class FormFile(NamedTuple):
    """The file of a form, not yet read, and the fields before it."""

    fields: dict[str, str]
    filename: str
    part: BodyPartReader


def check_head(request: web.Request, max_bytes: int) -> None:
    """Refuse a body by what its head says, before a byte of it is read.

    Raises:
        TooLarge: Its announced length is above the limit.
        BadInput: It is compressed on the way, so that its bytes are not the object's.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise BadInput(_TRIED, f"it is encoded as {encoding[:50]!r}", "send the bytes as they are")
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(max_bytes)


async def raw(request: web.Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        TooLarge: It is above the limit. BodyTimeout: Nothing came for too long.
    """
    async for chunk in _bounded(request.content.readany, max_bytes):
        yield chunk


async def whole(request: web.Request, max_bytes: int) -> bytes:
    """Return the whole body; raises as `check_head` and `raw` do."""
    check_head(request, max_bytes)
    return b"".join([chunk async for chunk in raw(request, max_bytes)])


async def form_file(request: web.Request) -> FormFile:
    """Read a form up to its part ``file``; fields must come before it.

    Raises:
        BadInput: It is no such form.
    """
    fields: dict[str, str] = {}
    try:
        async with asyncio.timeout(limits.WEB_BODY_IDLE_SECONDS):
            reader = await request.multipart()
            for _ in range(_FIELDS_MAX):
                part = await reader.next()
                if not isinstance(part, BodyPartReader):
                    break
                if part.name == "file":
                    _check_encoding(part)
                    return FormFile(fields, part.filename or "", part)
                fields[part.name or ""] = await _text(part)
    except TimeoutError as error:
        raise _silent() from error
    except (ValueError, AssertionError) as error:  # aiohttp checks the form with assertions
        raise BadInput("read the form", str(error) or "it is not well-formed") from error
    raise BadInput("read the form", "it has no part named file", "put the file there, as the last part")


async def form_bytes(part: BodyPartReader, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a form's file as they arrive; raises as `raw` does.

    Raises:
        BadInput: The form ends before the file does.
    """
    try:
        async for chunk in _bounded(lambda: part.read_chunk(limits.CHUNK_BYTES), max_bytes):
            yield chunk
    except ValueError as error:
        raise BadInput("read the form", str(error)) from error
    if not part.at_eof():  # no boundary came: aiohttp takes the end of the body for the end of the part
        raise BadInput("read the form", "it ends before its file does", "send it again")


def _check_encoding(part: BodyPartReader) -> None:
    encoding = part.headers.get("Content-Transfer-Encoding", "binary")
    if encoding.lower() not in {"binary", "8bit", "7bit"}:
        raise BadInput(
            "read the form", f"its file is encoded as {encoding[:50]!r}", "send its bytes as they are"
        )


async def _text(part: BodyPartReader) -> str:
    value = bytearray()
    while chunk := await part.read_chunk(limits.KIB):
        value += chunk
        if len(value) > limits.FILENAME_MAX_CHARS:
            raise BadInput("read the form", f"its field {str(part.name)[:50]!r} is too long")
    return value.decode()


async def _bounded(read: Callable[[], Awaitable[bytes]], max_bytes: int) -> AsyncIterator[bytes]:
    size_bytes = 0
    while True:
        try:
            async with asyncio.timeout(limits.WEB_BODY_IDLE_SECONDS):
                chunk = await read()
        except TimeoutError as error:
            raise _silent() from error
        if not chunk:
            return
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        metrics.WEB_RECEIVED.inc(len(chunk))
        yield chunk


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(_TRIED, f"it has more than {max_bytes} bytes", "raise the setting web.upload_max_bytes")


def _silent() -> BodyTimeout:
    return BodyTimeout(_TRIED, f"nothing came for {limits.WEB_BODY_IDLE_SECONDS:g} s", "send it again")
