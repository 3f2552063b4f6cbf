"""One archived message over HTTP: object, payload and retraction (archive contract, section 17.1)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive import bson, documents, lookup
from pipeline.archive.access.users import User
from pipeline.archive.lookup import ArchivedRow
from pipeline.database.tables import messages
from pipeline.errors import Damaged, HeadraceError, NotFound
from pipeline.web import archive_callers
from pipeline.web.answers import answer
from pipeline.web.archive_forms import BSON, JSON, attachment, wants_json
from pipeline.web.archive_problems import ArchiveProblem, Refused, read_only
from pipeline.web.archive_query import read_query
from pipeline.web.content import send
from pipeline.web.context import parts_of
from pipeline.web.routes import Asked, Route

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Health(msgspec.Struct, frozen=True):
    """Whether the archive works, in the words of its clients."""

    database_ok: bool = msgspec.field(name="DatabaseOK")
    object_store_ok: bool = msgspec.field(name="ObjectStoreOK")
    policy_ok: bool = msgspec.field(name="HopAuthOK")


class Retracted(msgspec.Struct, frozen=True):
    """What became of a retraction."""

    retracted: bool


class RetractionAsked(Asked, frozen=True, forbid_unknown_fields=False):
    """The query of a retraction."""

    retracted: Annotated[bool, Meta(description="`false` takes the retraction back.")] = True


async def get_health(request: web.Request) -> web.Response:
    """Probe database, object store and topic policy; always 200."""
    parts = parts_of(request)
    database, objects, policy = await asyncio.gather(
        _works(parts.database.ping()),
        _works(parts.archived.stat("probe")),
        _works(request.app[archive_callers.CALLERS].policy_works()),
    )
    return answer(Health(database, objects, policy))


async def _works(probe: Awaitable[Any]) -> bool:
    """Wait for a probe; what it says counts when it says no."""
    try:
        async with asyncio.timeout(limits.PROBE_SECONDS):
            return await probe is not False
    except (HeadraceError, TimeoutError):
        return False


async def get_message(request: web.Request) -> web.StreamResponse:
    """Send the object of a message as it is stored."""
    row = await _readable(request)
    objects = parts_of(request).archived
    if wants_json(request):
        if row.size > limits_archive.ARCHIVE_JSON_MAX_BYTES:
            raise Refused(406, f"Message is too large for JSON; ask for {BSON}")
        with _kept(row):
            data = await lookup.read_object(objects, row)
        return web.Response(body=await asyncio.to_thread(bson.to_json, data), content_type=JSON)
    with _kept(row):
        pieces = await _begun(documents.open_document(objects, row))
    response = web.StreamResponse()
    response.content_type = BSON
    response.content_length = row.size
    return await send(request, response, pieces)


async def get_payload(request: web.Request) -> web.StreamResponse:
    """Send the payload of a message, under the name in the path."""
    row = await _readable(request)
    with _kept(row):
        size_bytes, pieces = await documents.open_payload(parts_of(request).archived, row)
        pieces = await _begun(pieces)
    response = web.StreamResponse(headers=attachment(request.match_info["file"]))
    response.content_type = "application/octet-stream"
    response.content_length = size_bytes
    return await send(request, response, pieces)


async def put_retraction(request: web.Request) -> web.Response:
    """Mark a message as retracted, or take that back."""
    if parts_of(request).settings.archive.read_only:
        raise read_only()
    asked = read_query(request, RetractionAsked)
    row, user = await _found(request)
    archive_callers.check_retraction(request, user, row)
    change = update(messages).where(messages.c.uuid == row.uuid).values(retracted=asked.retracted)

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(change)

    await parts_of(request).database.write("retract an archived message", write)
    return answer(Retracted(asked.retracted))


async def _readable(request: web.Request) -> ArchivedRow:
    row, user = await _found(request)
    archive_callers.check_readable(request, user, row)
    return row


async def _found(request: web.Request) -> tuple[ArchivedRow, User | None]:
    """Return the message a path names, and who asks for it."""
    text = request.match_info["uuid"]
    if not _UUID.fullmatch(text):
        raise Refused(400, "Invalid Message ID")
    user = await archive_callers.caller_of(request)
    row = await lookup.by_uuid(parts_of(request).database, UUID(text))
    if row is None:
        raise Refused(404, "Message not found")
    return row, user


@contextmanager
def _kept(row: ArchivedRow) -> Iterator[None]:
    """Name the loss of an object for what it is: the message is known, so "not found" would mislead."""
    try:
        yield
    except NotFound as error:
        raise Damaged(f"read the archived object {row.key}", "it is not in the store any more") from error


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first piece before the answer begins: what is wrong by then can still be said."""
    first = await anext(pieces, None)
    return _rejoined(first, pieces)


async def _rejoined(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece


_SHARED: dict[str, Any] = {"tag": "archive", "problem": ArchiveProblem}

ROUTES = (
    Route(
        methods=("GET",),
        path="/api/archive/health_check",
        handler=get_health,
        summary="Whether the archive works",
        text="Always 200. `HopAuthOK` is about the topic policy.",
        answer=Health,
        **_SHARED,
    ),
    Route(
        methods=("GET",),
        path="/api/archive/msg/{uuid}",
        handler=get_message,
        summary="One archived message, as it is stored",
        text="Checked against its row while it is sent: a damaged one ends too early, it never ends well.",
        media=BSON,
        other_media=JSON,
        errors=(400, 401, 403, 404, 406, 503),
        streams=True,
        **_SHARED,
    ),
    Route(
        methods=("GET",),
        path="/api/archive/msg/{uuid}/raw_file/{file}",
        handler=get_payload,
        summary="The payload of an archived message, as a file of that name",
        media="application/octet-stream",
        errors=(400, 401, 403, 404, 503),
        streams=True,
        **_SHARED,
    ),
    Route(
        methods=("PUT",),
        path="/api/archive/msg/{uuid}/retraction",
        handler=put_retraction,
        summary="Retract an archived message, or take that back",
        text="For whoever sent it, and owners of its topic. The message stays as it is, marked.",
        query=RetractionAsked,
        answer=Retracted,
        errors=(400, 401, 403, 404, 501, 503),
        **_SHARED,
    ),
)
