"""The bytes of an object: neutered, or raw for whoever asks for it by name.

Raw bytes leave as an attachment of no type, which no browser opens or guesses at. Ranges follow the
dispatcher contract, section 16.3, with 416 for what lies behind the end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Annotated, Literal, NamedTuple

import structlog
from aiohttp import web
from msgspec import Meta

from pipeline import limits, metrics
from pipeline.errors import BadInput, HeadraceError
from pipeline.objects.neuter import pack
from pipeline.web.context import parts_of
from pipeline.web.copies import Copy, any_copy
from pipeline.web.problems import RangeRefused
from pipeline.web.routes import Asked, Route, asked, sha256_of

log = structlog.get_logger(__name__)

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_BINARY = "application/octet-stream"


class ContentAsked(Asked, frozen=True):
    """The query of a download."""

    format: Annotated[
        Literal["cart", "raw"],
        Meta(description="`cart`: neutered, nothing runs it by accident; `raw`: the bytes themselves."),
    ] = "cart"


class Wanted(NamedTuple):
    """A range asked for: first and last offset, both included; the last may lie behind the end."""

    first: int
    last: int


def wanted_range(header: str, size_bytes: int) -> Wanted:
    """Read a Range header for an object of this size.

    Raises:
        BadInput: It is not a single range of bytes.
        RangeRefused: It starts behind the end.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        raise BadInput("read the Range header", f"{header[:80]!r} is no range of bytes", "send bytes=0-99")
    first, last = match.groups()
    if not first:
        count = int(last)
        return Wanted(max(0, size_bytes - count) if count else 0, size_bytes - 1)
    if last and int(last) < int(first):
        raise BadInput("read the Range header", f"{header[:80]!r} ends before it starts")
    if int(first) >= size_bytes:
        why = f"offset {first} lies after the end, {size_bytes} bytes"
        raise RangeRefused("read the Range header", why, size_bytes=size_bytes)
    return Wanted(int(first), int(last) if last else size_bytes - 1)


async def get_content(request: web.Request) -> web.StreamResponse:
    """Send the bytes of an object."""
    form = asked(request, ContentAsked).format
    sha256 = sha256_of(request)
    parts = parts_of(request)
    copy = await any_copy(parts, sha256)
    name = sha256 if form == "raw" else f"{sha256}.cart"
    tag = f'"{name}"'
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return web.Response(status=304, headers={"ETag": tag})
    if form == "raw":
        return await _send_raw(request, copy, sha256)
    response = attachment(200, name, tag)
    if request.method == "HEAD":
        return response
    download = await parts.objects.get(copy.key)
    return await send(request, response, pack(download, digests=True))


async def _send_raw(request: web.Request, copy: Copy, sha256: str) -> web.StreamResponse:
    """Send the bytes of a copy, or the range of them that is asked for."""
    tag, size_bytes = f'"{sha256}"', copy.size_bytes
    header = request.headers.get("Range")
    if header is None or request.headers.get("If-Range", tag) != tag:
        response = attachment(200, sha256, tag)
        response.headers["Accept-Ranges"] = "bytes"
        first, last = 0, size_bytes - 1
    else:
        wanted = wanted_range(header, size_bytes)
        first, last = wanted.first, min(wanted.last, size_bytes - 1)
        response = attachment(206, sha256, tag)
        response.headers["Content-Range"] = f"bytes {first}-{last}/{size_bytes}"
    response.content_length = last - first + 1
    if request.method == "HEAD":
        return response
    return await send(
        request, response, await parts_of(request).objects.get(copy.key, first=first, last=last)
    )


def attachment(status: int, name: str, tag: str) -> web.StreamResponse:
    """Begin an answer that no browser shows: the name holds hexadecimal digits only."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "ETag": tag,
    }
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = _BINARY
    return response


async def send(
    request: web.Request, response: web.StreamResponse, source: AsyncIterable[bytes]
) -> web.StreamResponse:
    """Send a stream. When it breaks off, so does the connection: no reader takes a part for all."""
    await response.prepare(request)
    stream = aiter(source)
    whole = False
    try:
        async for chunk in stream:
            async with asyncio.timeout(limits.WEB_BODY_IDLE_SECONDS):
                await response.write(chunk)
            metrics.WEB_SENT.inc(len(chunk))
        await response.write_eof()
        whole = True
    except (HeadraceError, TimeoutError) as error:
        why = str(error) or "the reader stopped reading"
        log.warning("broke off a download", path=request.path, reason=why)
    except ConnectionError:
        log.debug("the reader of a download has gone", path=request.path)
    finally:
        if not whole and request.transport is not None:
            request.transport.abort()
        await _close(stream)
    return response


async def _close(stream: AsyncIterator[bytes]) -> None:
    """Let a generator clean up now, not when it is collected."""
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()


def _matches(header: str, tag: str) -> bool:
    tags = {one.strip().removeprefix("W/") for one in header.split(",")}
    return tag in tags or "*" in tags


ROUTES = (
    Route(
        methods=("GET", "HEAD"),
        path="/api/objects/{sha256}/content",
        handler=get_content,
        summary="The bytes of an object",
        text=(
            "Neutered as CaRT unless `format=raw`. Raw bytes can be asked for in part with a `Range` "
            "header (answered with 206, or 416 behind the end)."
        ),
        tag="objects",
        query=ContentAsked,
        media=_BINARY,
        also=(206, 304),
        errors=(400, 404, 416, 503),
        streams=True,
    ),
)
