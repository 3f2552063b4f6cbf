"""Errors as the clients of the hub know them (dispatcher contract, section 3).

Those clients forbid fields they do not know, so what the rest of the surface says with an error has no
place here: the detail carries it.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from pipeline.errors import HeadraceError
from pipeline.web.answers import answer

PATHS = ("/api/v2/", "/api/v3/")
UNSET = "ErrorStringEnumUnset"
ALL_AGED_OFF = "ErrorStringEnumAllEventsAgedOffImmediately"
ALL_FILTERED = "ErrorStringEnumAllEventsFiltered"
_NO_DETAIL = "no error provided"


class HubProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer of the hub."""

    status: str
    error_enum: str
    title: str = ""
    detail: str = ""


class Refused(HeadraceError):
    """An answer the contract names for a request that cannot be fulfilled."""

    def __init__(self, status: int, title: str, detail: str = "", error_enum: str = UNSET) -> None:
        super().__init__(title, detail)
        self.status = status
        self.title = title
        self.detail = detail or _NO_DETAIL
        self.error_enum = error_enum


def asked(request: web.Request) -> bool:
    """Say whether a request is for the hub, whose clients expect these answers."""
    return request.path.startswith(PATHS)


def refusal(error: HeadraceError, status: int) -> web.Response:
    """Answer an error that has something to say."""
    if isinstance(error, Refused):
        return problem(error.status, error.title, error.detail, error.error_enum)
    return problem(status, error.tried, str(error))


def not_there() -> web.Response:
    """Answer that there is no such route."""
    return web.Response(text="404 page not found\n", status=404)


def problem(status: int, title: str, detail: str, error_enum: str = UNSET) -> web.Response:
    """Make an error answer."""
    response = answer(HubProblem(str(status), error_enum, title, detail), status=status)
    response.charset = "utf-8"
    return response


def routing(request: web.Request, error: web.HTTPException) -> web.Response:
    """Answer what the router decided: there is no such path, or not with this method.

    A path with a slash too many is sent to the one without.
    """
    if error.status < 400:  # noqa: PLR2004 - statuses read best as their number
        raise error
    if request.path.endswith("/"):
        target = request.rel_url.with_path(
            request.rel_url.raw_path.rstrip("/"), encoded=True, keep_query=True
        )
        return web.Response(
            status=301 if request.method == "GET" else 307, headers={"Location": str(target)}
        )
    return not_there()
