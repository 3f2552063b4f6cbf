"""Where: the life line of one file or event."""

from __future__ import annotations

from aiohttp import web

from pipeline.web.answers import answer
from pipeline.web.context import parts_of, tables_of
from pipeline.web.lifeline import LifeLine, life_line
from pipeline.web.routes import Nothing, Route, asked


async def where(request: web.Request) -> web.Response:
    """Answer everything that knows a file or event."""
    asked(request, Nothing)
    return answer(await life_line(parts_of(request), tables_of(request), request.match_info["identity"]))


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/where/{identity}",
        handler=where,
        summary="Everything that knows a file or event",
        text=(
            "Reads every topic from its start, within limits; `remarks` says what was not looked at to its "
            "end. Besides topics: tables, objects, rows of the archive and documents."
        ),
        tag="objects",
        answer=LifeLine,
        errors=(400, 404, 503),
    ),
)
