"""Pages for people: what is running and the last results, and one file. Plain HTML that needs no script.

Everything shown is escaped by the templates; text of strangers is made visible first.
"""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import HeadraceError, NotFound
from pipeline.index.query import Query, Sort
from pipeline.web import objects, pause
from pipeline.web.accept import quality
from pipeline.web.context import backlog_of, notices_of, parts_of, tables_of
from pipeline.web.files import FileSeen, files_in
from pipeline.web.html import MEDIA, render
from pipeline.web.paging import cut
from pipeline.web.routes import Asked, Nothing, Route, asked, sha256_of
from pipeline.web.search import condition
from pipeline.web.status import status_of

_TEXT = "text/plain"
_GREETING = "Azul Dispatcher"
"""What programs that know the dispatcher ask for to see whether it is up (contract, section 20)."""
_VARY = {"Vary": "Accept"}
_DOCUMENTS = 100
"""Documents brought together for the list of last results: a file has about two."""
_ROWS = 10
_MEDIA = {"style.css": "text/css", "start.js": "text/javascript", "icon.svg": "image/svg+xml"}
_STATIC = {name: (resources.files("pipeline.web") / "static" / name).read_bytes() for name in _MEDIA}


class StartAsked(Asked, frozen=True):
    """The query of the start page."""

    q: Annotated[str, Meta(max_length=limits.QUERY_MAX_CHARS, description="A search.")] = ""
    stored: Annotated[
        str, Meta(pattern="^([0-9a-f]{64})?$", description="An object that was just submitted.")
    ] = ""


class ObjectAsked(Asked, frozen=True):
    """The query of the page of one file."""

    done: Annotated[Literal["", "hurry"], Meta(description="What was just done.")] = ""


async def start(request: web.Request) -> web.Response:
    """Show what is running, the last results or what a search finds, and a form for a file.

    Only to whom prefers a page; whoever takes plain text as well is a program and is greeted.
    """
    wanted = asked(request, StartAsked)
    if quality(request, MEDIA) <= quality(request, _TEXT):
        return web.Response(text=_GREETING, content_type=_TEXT, headers=_VARY)
    parts, tables = parts_of(request), tables_of(request)
    status = await status_of(parts, tables, backlog_of(request))
    files, total, problem = await _results(parts, wanted.q)
    tasks = cut(await tables.tasks(), lambda task: (task.due, task.dequeued), limit=_ROWS)
    parked = cut(await tables.parked(), lambda entry: (-entry.parked_at, entry.id), limit=_ROWS)
    page = render(
        "start.html",
        status=status,
        files=files,
        total=total,
        problem=problem,
        q=wanted.q,
        stored=wanted.stored,
        tasks=tasks,
        parked=parked,
        pause=pause.described(notices_of(request), parts.clock.unix()),
        now=parts.clock.unix(),
        statistics=_statistics(parts),
    )
    page.headers.update(_VARY)
    return page


def _statistics(parts: Parts) -> list[tuple[str, str]]:
    """Name the statistics pages of a worker on these settings: one port an agent, in order."""
    host, _, port = parts.settings.worker.stats_listen.rpartition(":")
    agents = enumerate(parts.settings.worker.agents) if port else ()
    return [(name, f"http://{host}:{int(port) + position}/") for position, name in agents]


async def _results(parts: Parts, text: str) -> tuple[list[FileSeen], int, str]:
    """Search for the files to list; what goes wrong is shown in their place."""
    try:
        query = Query(condition(text, "binary2"), (Sort("timestamp", descending=True),), _DOCUMENTS)
        page = await parts.index.search("binary2", query)
    except HeadraceError as error:
        return [], 0, str(error)
    return files_in(page.hits), page.total, ""


async def object_page(request: web.Request) -> web.Response:
    """Show what is known about one file."""
    wanted = asked(request, ObjectAsked)
    known = await objects.known(request, sha256_of(request))
    file = next(iter(files_in(known.documents)), FileSeen(known.sha256))
    return render("object.html", known=known, file=file, done=wanted.done)


async def static(request: web.Request) -> web.Response:
    """Send a file that belongs to the pages."""
    asked(request, Nothing)
    name = request.match_info["file"]
    if name not in _STATIC:
        raise NotFound(f"get /static/{name[:100]}", "there is no such file")
    headers = {"Cache-Control": "max-age=300"}
    return web.Response(body=_STATIC[name], content_type=_MEDIA[name], charset="utf-8", headers=headers)


ROUTES = (
    Route(
        methods=("GET",),
        path="/",
        handler=start,
        summary="The start page",
        text=f"Whoever does not prefer `{MEDIA}` is answered the text `{_GREETING}`.",
        tag="pages",
        query=StartAsked,
        media=MEDIA,
        other_media=_TEXT,
    ),
    Route(
        methods=("GET",),
        path="/objects/{sha256}",
        handler=object_page,
        summary="The page of one file",
        tag="pages",
        query=ObjectAsked,
        media=MEDIA,
        errors=(400, 404, 503),
    ),
    Route(
        methods=("GET",),
        path="/static/{file}",
        handler=static,
        summary="Files that belong to the pages",
        tag="pages",
        media="application/octet-stream",
        errors=(404,),
    ),
)
