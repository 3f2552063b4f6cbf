"""The page that finds archived messages: by time, topic and words, or by what names one of them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from aiohttp import web
from msgspec import Meta

from pipeline import limits_archive
from pipeline.archive import listing, lookup
from pipeline.archive.figures.totals import totals
from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import BadInput, Unavailable
from pipeline.web.archive_pages_access import readable_topics
from pipeline.web.archive_pages_span import When, milliseconds
from pipeline.web.context import parts_of
from pipeline.web.html import MEDIA, explained, render
from pipeline.web.routes import Asked, Route, asked

_MESSAGES = 50
_TOPICS = 500
"""Names a browser offers for the field."""


class SearchAsked(Asked, frozen=True):
    """The query of the search; fields left empty do not count."""

    topic: Annotated[str, Meta(max_length=300, description="Only messages of this topic.")] = ""
    q: Annotated[
        str, Meta(max_length=limits_archive.SEARCH_MAX_CHARACTERS, description="Words of its text.")
    ] = ""
    id: Annotated[
        str,
        Meta(
            max_length=limits_archive.EVENT_KEY_MAX_BYTES,
            description="The uuid of a message or the id of an event; nothing else counts then.",
        ),
    ] = ""
    start: When = ""
    end: When = ""
    page: Annotated[str, Meta(max_length=200, description="The mark of a page.")] = ""


async def search(request: web.Request) -> web.Response:
    """Show what a search finds; what names one message leads straight to it."""
    wanted = asked(request, SearchAsked)
    identity = wanted.id.strip()
    rows = await _named(request, identity) if identity else []
    if len(rows) == 1:
        return web.Response(status=303, headers={"Location": f"/archive/messages/{rows[0].uuid}"})
    page, problem = listing.Page(rows, None, None), ""
    if not identity:
        page, problem = await _listed(request, wanted)
    return render(
        "archive_search.html",
        wanted=wanted,
        page=page,
        problem=problem,
        topics=await _topics(request),
    )


async def _named(request: web.Request, identity: str) -> list[ArchivedRow]:
    """Find the public messages of an id: the one of that uuid, and those whose record key it is."""
    database = parts_of(request).database
    rows = await lookup.by_event_key(database, identity)
    try:
        row = await lookup.by_uuid(database, UUID(identity))
    except ValueError:
        row = None
    found = {one.id: one for one in [row, *rows] if one is not None and one.public}
    return list(found.values())


async def _listed(request: web.Request, wanted: SearchAsked) -> tuple[listing.Page, str]:
    """Search; what is wrong with the search, or too slow, is said in place of what it finds."""
    try:
        asked_for = listing.Wanted(
            topics=frozenset((wanted.topic.strip(),)) if wanted.topic.strip() else None,
            start_ms=milliseconds(wanted.start),
            end_ms=milliseconds(wanted.end),
            search=wanted.q.strip(),
        )
        page = await listing.read_page(
            parts_of(request).database, asked_for, limit=_MESSAGES, mark=wanted.page, ascending=False
        )
    except (BadInput, Unavailable) as error:
        return listing.Page([], None, None), str(error)
    return page, ""


async def _topics(request: web.Request) -> list[str]:
    readable = await readable_topics(request)
    known = await totals(parts_of(request).database)
    return [one.topic for one in known.topics if readable(one.topic)][:_TOPICS]


ROUTES = (
    Route(
        methods=("GET",),
        path="/archive/search",
        handler=explained(search),
        summary="The page that finds archived messages",
        text="An `id` that names one message is answered with a 303 to its page.",
        tag="pages",
        query=SearchAsked,
        media=MEDIA,
        errors=(400, 503),
    ),
)
