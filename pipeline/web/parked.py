"""Parked records and tasks: list them, look at them, put them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.events.parked import ParkedEntry, ParkedState
from pipeline.log.port import NewRecord
from pipeline.processing import parked_record
from pipeline.web.answers import answer
from pipeline.web.content import attachment, send
from pipeline.web.context import fresh_tables, parts_of
from pipeline.web.events import Header, shown_headers, shown_text
from pipeline.web.paging import cut
from pipeline.web.routes import Asked, Nothing, Route, asked


class ParkedAsked(Asked, frozen=True):
    """The query of the list."""

    agent: Annotated[str, Meta(max_length=200, description="Only what this agent parked.")] = ""
    limit: Annotated[int, Meta(ge=1, le=limits.LIST_PAGE_MAX, description="At most so many.")] = 100
    after: Annotated[str, Meta(max_length=1000, description="The `next` of the page before.")] = ""


class EntryShown(msgspec.Struct, frozen=True):
    """A record put aside."""

    id: str
    agent: str
    topic: str
    partition: int
    offset: int
    key: str | None
    """Its key as text, or base64 when it is none."""
    headers: list[Header]
    reason: str
    error: str
    size_bytes: int
    parked_at: float
    """Unix seconds."""
    state: ParkedState


class EntryPage(msgspec.Struct, frozen=True):
    """Some entries, the newest first."""

    entries: list[EntryShown]
    total: int
    next: str | None


class Replayed(msgspec.Struct, frozen=True):
    """Where a parked record is now."""

    id: str
    topic: str
    partition: int
    offset: int


def shown(entry: ParkedEntry) -> EntryShown:
    """Return an entry as JSON holds it."""
    text, encoded = shown_text(entry.key)
    return EntryShown(
        entry.id,
        entry.agent,
        entry.topic,
        entry.partition,
        entry.offset,
        encoded or text,
        shown_headers(entry.headers),
        entry.reason,
        entry.error,
        entry.size_bytes,
        entry.parked_at,
        entry.state,
    )


async def list_parked(request: web.Request) -> web.Response:
    """Answer a page of entries."""
    wanted = asked(request, ParkedAsked)
    found = [
        entry for entry in await (await fresh_tables(request)).parked() if wanted.agent in {"", entry.agent}
    ]
    page = cut(found, lambda entry: (-entry.parked_at, entry.id), limit=wanted.limit, after=wanted.after)
    return answer(EntryPage([shown(entry) for entry in page.items], page.total, page.next))


async def get_parked(request: web.Request) -> web.Response:
    """Answer one entry."""
    asked(request, Nothing)
    return answer(shown(await _found(request)))


async def get_content(request: web.Request) -> web.StreamResponse:
    """Send the value of the parked record."""
    asked(request, Nothing)
    entry = await _found(request)
    download = await parts_of(request).objects.get(entry.object_key)
    response = attachment(200, f"{entry.id}.record", f'"{entry.id}"')
    response.content_length = download.length_bytes
    return await send(request, response, download)


async def replay(request: web.Request) -> web.Response:
    """Put a record back."""
    asked(request, Nothing)
    return answer(await put_back(request), status=202)


async def put_back(request: web.Request) -> Replayed:
    """Append the record of the entry named in the path to its topic again, then close the entry.

    A crash between the two leaves the entry parked; replaying it again repeats the record, which every
    sink recognises by its key. What was parked of a task is the event that gives it back to its plugin.

    Raises:
        NotFound: There is no such entry, or its bytes are gone.
        Unavailable: A part does not answer.
    """
    entry, parts = await _found(request), parts_of(request)
    download = await parts.objects.get(entry.object_key)
    value = b"".join([chunk async for chunk in download])
    record = NewRecord(entry.topic, entry.key, value, entry.headers)
    [placed] = await parts.log.append([record])
    await parts.log.append([parked_record(parts, msgspec.structs.replace(entry, state="replayed"))])
    return Replayed(entry.id, *placed)


async def _found(request: web.Request) -> ParkedEntry:
    name = request.match_info["entry"]
    entry = (await fresh_tables(request)).entry(name)
    if entry is None:
        raise NotFound(
            f"find parked entry {name[:200]!r}",
            "there is none of this id; it may have been replayed",
            "GET /api/parked lists them",
        )
    return entry


_SHARED: Mapping[str, Any] = {"tag": "parked", "errors": (400, 404, 503)}

ROUTES = (
    Route(
        methods=("GET",),
        path="/api/parked",
        handler=list_parked,
        summary="List what was put aside",
        query=ParkedAsked,
        answer=EntryPage,
        **_SHARED,
    ),
    Route(
        methods=("GET",),
        path="/api/parked/{entry}",
        handler=get_parked,
        summary="One parked entry",
        answer=EntryShown,
        **_SHARED,
    ),
    Route(
        methods=("GET",),
        path="/api/parked/{entry}/content",
        handler=get_content,
        summary="The value of a parked record",
        media="application/octet-stream",
        streams=True,
        **_SHARED,
    ),
    Route(
        methods=("POST",),
        path="/api/parked/{entry}/replay",
        handler=replay,
        summary="Put a parked record back on its topic",
        text="A parked task goes back to its plugin.",
        status=202,
        answer=Replayed,
        **_SHARED,
    ),
)
