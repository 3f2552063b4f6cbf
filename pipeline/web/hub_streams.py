"""The hub's streams over HTTP: bytes under source, label and hash. Contract: dispatcher section 16."""

from __future__ import annotations

import datetime as dt
import re
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from aiohttp import web

from pipeline import metrics, metrics_hub
from pipeline.errors import BadInput, NotFound
from pipeline.events.names import CONTENT
from pipeline.events.parts import Datastream
from pipeline.flags import FALSE, TRUE
from pipeline.identify.datastream import describe
from pipeline.identify.formats import UNKNOWN
from pipeline.objects.hashing import Digest, Stored, stored_stream
from pipeline.objects.keys import stream_key
from pipeline.objects.operations import operation
from pipeline.objects.port import Download, Stat
from pipeline.objects.streams import copy_stream
from pipeline.web import bodies
from pipeline.web.answers import answer
from pipeline.web.content import send, wanted_range
from pipeline.web.context import parser_of, parts_of
from pipeline.web.hub_problems import HubProblem, Refused, not_there
from pipeline.web.problems import RangeRefused
from pipeline.web.routes import Asked, Route

_BINARY = "application/octet-stream"
_LAST_SECOND = int(dt.datetime(dt.MAXYEAR, 12, 31, tzinfo=dt.UTC).timestamp())
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)
_TYPES = metrics_hub.Names()


class UploadQuery(Asked, frozen=True):
    """The query of an upload."""

    skip_identify: Annotated[
        str, msgspec.Meta(description="Answer only size and sha256; needs `expected-sha256`.")
    ] = msgspec.field(default="", name="skip-identify")
    expected_sha256: Annotated[
        str, msgspec.Meta(description="Refuse the bytes when they have another hash.")
    ] = msgspec.field(default="", name="expected-sha256")


class DeleteQuery(Asked, frozen=True):
    """The query of a deletion."""

    if_older_than: Annotated[
        str, msgspec.Meta(description="Unix seconds; what was modified then or later is kept.")
    ] = msgspec.field(default="0", name="ifOlderThan")


class Uploaded(msgspec.Struct, frozen=True):
    """What is known about uploaded bytes. The label is always ``content``; clients overwrite it."""

    data: Datastream


class Deletion(msgspec.Struct, frozen=True):
    """Whether a stream was deleted."""

    deleted: bool


async def upload(request: web.Request) -> web.Response:
    """Store the body and answer what it is; nothing is stored when a check fails."""
    metrics.HUB_UPLOADS.inc()
    parts = parts_of(request)
    source, label = request.match_info["source"], request.match_info["label"]
    skip = _flag(request.query.get("skip-identify", ""), "skip identify")
    expected = request.query.get("expected-sha256", "").lower()
    if skip and not expected:
        raise Refused(400, "must supply sha256 when skipping identify")

    def checked_key(digest: Digest) -> str:
        if not digest.size_bytes:
            raise Refused(400, "no content in request body")
        if expected and expected != digest.sha256:
            why = f"sha256 mismatch - supplied: {expected[:64]} vs calc: {digest.sha256}"
            raise Refused(400, "sha256 mismatch", why)
        key = stream_key(source, label, digest.sha256)
        storing.enter_context(operation("put"))
        return key

    stream_key(source, label, "0" * 64)  # refuses a wrong place before a byte is read
    max_bytes = parts.settings.web.upload_max_bytes
    bodies.check_head(request, max_bytes)
    with ExitStack() as storing:  # entered when all bytes are here: waiting for them is not storing
        body = bodies.raw(request, max_bytes)
        async with stored_stream(parts.objects, body, checked_key) as stored:
            storing.close()
            metrics.HUB_UPLOADED.inc(stored.digest.size_bytes)
            # The bytes are durable under their hash; what follows only looks at them.
            return answer(Uploaded(_bare(stored.digest) if skip else await _identified(request, stored)))


def _bare(digest: Digest) -> Datastream:
    return Datastream(label=CONTENT, size=digest.size_bytes, sha256=digest.sha256)


async def _identified(request: web.Request, stored: Stored) -> Datastream:
    pool = await parser_of(request)
    found = await describe(stored, pool.identify)
    if found.file_format == UNKNOWN:
        metrics_hub.UNIDENTIFIED.labels(*_TYPES.counted_as(found.mime, found.magic)).inc()
    return found


async def exists(request: web.Request) -> web.Response:
    """Say whether a stream is there; the body is empty."""
    metrics.HUB_EXISTS.inc()
    with operation("exists"):
        found = await parts_of(request).objects.stat(_key(request))
    return web.Response(status=404 if found is None else 200)


async def download(request: web.Request) -> web.StreamResponse:
    """Send a stream, or one range of it."""
    if request.method == "HEAD":
        return await exists(request)
    metrics.HUB_DOWNLOADS.inc()
    try:
        found, response = await _opened(request)
    except NotFound:
        raise Refused(404, "not found", "not found") from None
    response.content_type = _BINARY
    response.content_length = found.length_bytes
    metrics.HUB_DOWNLOADED.inc(found.length_bytes)
    return await send(request, response, found)


async def _opened(request: web.Request) -> tuple[Download, web.StreamResponse]:
    """Open what is asked for and begin its answer; raises `NotFound`."""
    key, objects = _key(request), parts_of(request).objects
    header = request.headers.get("Range")
    if header is None:
        with operation("fetch"):
            found = await objects.get(key)
        return found, web.StreamResponse(headers={"Accept-Ranges": "bytes"})
    with operation("exists"):
        stat = await objects.stat(key)
    if stat is None:
        raise NotFound(f"read {key}")
    first, last = _range(header, stat)
    with operation("fetch"):
        found = await objects.get(key, first=first, last=last)
    span = f"bytes {first}-{last}/{stat.size_bytes}"
    return found, web.StreamResponse(status=206, headers={"Content-Range": span})


def _range(header: str, stat: Stat) -> tuple[int, int]:
    try:
        wanted = wanted_range(header, stat.size_bytes)
    except RangeRefused:
        raise
    except BadInput as error:
        raise Refused(400, "invalid range provided", error.why) from None
    return wanted.first, min(wanted.last, stat.size_bytes - 1)


async def delete(request: web.Request) -> web.Response:
    """Delete a stream that is older than asked for, when the settings allow deletion."""
    parts = parts_of(request)
    if not parts.settings.hub.allow_delete:
        return not_there()
    metrics.HUB_DELETIONS.inc()
    text = request.query.get("ifOlderThan", "0") or "0"
    if not _NUMBER.fullmatch(text):
        raise Refused(400, "ifOlderThan error", f"{text[:40]!r} is not a whole number of unix seconds")
    key = _key(request)
    seconds = min(int(text), _LAST_SECOND)
    older_than = dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None
    with operation("delete"):
        deleted = await parts.objects.delete(key, older_than=older_than)
        there = deleted or (older_than is not None and await parts.objects.stat(key) is not None)
    if not there:
        raise Refused(404, "not found", "not found")
    return answer(Deletion(deleted=deleted))


async def copy(request: web.Request) -> web.Response:
    """Copy a stream from one source to another, under the same label."""
    names = request.match_info
    source, target = names["source_a"], names["source_b"]
    objects = parts_of(request).objects
    try:
        with operation("copy"):
            await copy_stream(objects, names["label"], names["sha256"], source=source, target=target)
    except NotFound as error:
        raise Refused(404, "not found", error.why) from None
    return web.Response()


def _key(request: web.Request) -> str:
    names = request.match_info
    return stream_key(names["source"], names["label"], names["sha256"])


def _flag(text: str, name: str) -> bool:
    if text not in {"", *TRUE, *FALSE}:
        raise Refused(400, f"bad param {name}", f"{text[:40]!r} is neither true nor false")
    return text in TRUE


_PLACE = "/api/v3/stream/{source}/{label}"
_SHARED: dict[str, Any] = {"tag": "hub", "problem": HubProblem, "streams": True}

ROUTES = (
    Route(
        methods=("POST",),
        path=_PLACE,
        handler=upload,
        summary="Upload a stream",
        query=UploadQuery,
        body=(_BINARY,),
        answer=Uploaded,
        errors=(400, 413, 503),
        **_SHARED,
    ),
    Route(
        methods=("GET", "HEAD"),
        path=_PLACE + "/{sha256}",
        handler=download,
        summary="The bytes of a stream",
        media=_BINARY,
        also=(206,),
        errors=(400, 404, 416, 503),
        **_SHARED,
    ),
    Route(
        methods=("DELETE",),
        path=_PLACE + "/{sha256}",
        handler=delete,
        summary="Delete a stream",
        query=DeleteQuery,
        answer=Deletion,
        errors=(400, 404, 503),
        **_SHARED,
    ),
    Route(
        methods=("PATCH",),
        path="/api/v3/stream/{source_a}/{source_b}/{label}/{sha256}",
        handler=copy,
        summary="Copy a stream to another source",
        media="",
        errors=(400, 404, 503),
        **_SHARED,
    ),
)
