"""The page of one archived message: what it is, its headers, its payload, where it came from and lies."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits_archive
from pipeline.app import Parts
from pipeline.archive import bson, lookup
from pipeline.archive.figures.neighbours import neighbours_of
from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import BadInput, Damaged, NotFound, Unavailable
from pipeline.objects.keys import is_sha256
from pipeline.web.archive_pages_access import check_message
from pipeline.web.archive_pages_payload import View, shown_headers, shown_key, shown_payload
from pipeline.web.context import parts_of
from pipeline.web.html import MEDIA, explained, render
from pipeline.web.routes import Asked, Route, asked

_LIFE_LINE_MIN, _LIFE_LINE_MAX = 8, 1024
"""Lengths of ids `/api/where` takes."""


class MessageAsked(Asked, frozen=True):
    """The query of the page of a message."""

    view: Annotated[View, Meta(description="How the payload is shown; by itself as it fits.")] = ""


class Content(NamedTuple):
    """What the object of a message holds; without a document, why, unless it is too large."""

    document: bson.Document | None
    state: str = ""
    problem: str = ""


async def message(request: web.Request) -> web.Response:
    """Show one message; of one whose object is missing or damaged, that, and what the row knows."""
    wanted = asked(request, MessageAsked)
    uuid = _uuid(request)
    parts = parts_of(request)
    row = check_message(await lookup.by_uuid(parts.database, uuid), str(uuid))
    content = await _content(parts, row)
    document = content.document
    return render(
        "archive_message.html",
        wanted=wanted,
        row=row,
        content=content,
        document=document,
        headers=[] if document is None else shown_headers(document),
        key=None if document is None else shown_key(document.key),
        payload=None if document is None else shown_payload(document.payload, wanted.view),
        file=row.file_name if _is_plain(row.file_name) else f"{row.uuid}",
        life_line=row.event_key if _has_life_line(row) else None,
        about=None if document is None else _about(document),
        neighbours=await neighbours_of(parts.database, row),
    )


def _uuid(request: web.Request) -> UUID:
    text = request.match_info["uuid"]
    try:
        return UUID(text)
    except ValueError as error:
        raise BadInput("show a message", f"{text[:80]!r} is no uuid") from error


async def _content(parts: Parts, row: ArchivedRow) -> Content:
    if row.size > limits_archive.ARCHIVE_SHOWN_OBJECT_MAX_BYTES:
        return Content(None)
    try:
        return Content(await lookup.read_message(parts.archived, row))
    except NotFound as error:
        return Content(None, "is missing", str(error))
    except Damaged as error:
        return Content(None, "is damaged", str(error))
    except Unavailable as error:
        return Content(None, "cannot be read now", str(error))


def _is_plain(name: str) -> bool:
    """Tell whether a file name can stand at the end of a path; others are not used at all."""
    return bool(name) and name.isprintable() and "/" not in name and name.strip(".") != ""


def _has_life_line(row: ArchivedRow) -> bool:
    """Tell whether it is an event of Headrace, which has more to say about it."""
    key = row.event_key or ""
    own = row.topic.startswith("azul.") and _LIFE_LINE_MIN <= len(key) <= _LIFE_LINE_MAX
    return own and key.isprintable() and "/" not in key


class _Entity(msgspec.Struct):
    sha256: str = ""


class _Event(msgspec.Struct):
    entity: _Entity


def _about(document: bson.Document) -> str:
    """Give the file an event of Headrace is about; nothing when it is no such event."""
    if document.topic.startswith("azul."):
        with suppress(msgspec.DecodeError, RecursionError):
            sha256 = msgspec.json.decode(document.payload, type=_Event).entity.sha256
            return sha256 if is_sha256(sha256) else ""
    return ""


ROUTES = (
    Route(
        methods=("GET",),
        path="/archive/messages/{uuid}",
        handler=explained(message),
        summary="The page of one archived message",
        tag="pages",
        query=MessageAsked,
        media=MEDIA,
        errors=(400, 404, 503),
    ),
)
