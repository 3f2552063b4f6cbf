"""Errors on their way out: every failure becomes one JSON shape with a fitting status.

What people can act on (`pipeline.errors`) is answered as it is said; what nobody expected is logged whole
under an id, and only the id leaves the house.
"""

from __future__ import annotations

import re
import uuid

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pipeline import limits
from pipeline.errors import (
    BadInput,
    Conflict,
    EventError,
    HeadraceError,
    NotFound,
    TooLarge,
    Unavailable,
)
from pipeline.web import archive_problems, hub_problems
from pipeline.web.answers import answer
from pipeline.web.delivery import has_left
from pipeline.web.routes import Handler

log = structlog.get_logger(__name__)


class Problem(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    error: str
    """Kind of the error, in words: ``not found``."""
    tried: str
    """What was tried."""
    why: str
    """Why it failed."""
    todo: str
    """What can be done about it; may be empty."""
    id: str | msgspec.UnsetType = msgspec.UNSET
    """Under which id the log holds more."""


class RangeRefused(BadInput):
    """The range lies outside the object."""

    def __init__(self, tried: str, why: str, *, size_bytes: int) -> None:
        super().__init__(tried, why)
        self.size_bytes = size_bytes


class BodyTimeout(BadInput):
    """The body did not arrive in time."""


class Forbidden(BadInput):
    """The request comes from where none may come from."""


_STATUS: tuple[tuple[type[HeadraceError], int], ...] = (
    (TooLarge, 413),
    (RangeRefused, 416),
    (BodyTimeout, 408),
    (Forbidden, 403),
    (EventError, 422),
    (BadInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 503),
)
"""Status of each kind of error; the first that fits counts."""


def status_of(error: HeadraceError) -> int:
    """Return the HTTP status of an error; 500 for what no client can do anything about."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def words(kind: type[BaseException]) -> str:
    """Give the name of an error class in words: ``TooLarge`` is ``too large``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


def problem_answer(error: HeadraceError) -> web.Response:
    """Answer an error that has something to say."""
    status = status_of(error)
    headers = {}
    if status == 503:  # noqa: PLR2004 - statuses read best as their number
        headers["Retry-After"] = str(limits.WEB_RETRY_AFTER_SECONDS)
    if isinstance(error, RangeRefused):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    name = _logged(error) if status == 500 else msgspec.UNSET  # noqa: PLR2004
    problem = Problem(words(type(error)), error.tried, error.why, error.todo, name)
    return answer(problem, status=status, headers=headers)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer."""
    try:
        return await handler(request)
    except HeadraceError as error:
        return _answer(request, error)
    except web.HTTPException as error:
        return _routing_answer(request, error)
    except (web.RequestPayloadError, HttpProcessingError) as error:
        return _answer(request, BadInput("read the body", str(error) or "it is not well-formed HTTP"))
    except Exception as error:  # noqa: BLE001 - the last line of defence: logged whole, answered by id
        return _unexpected(request, error)


def _unexpected(request: web.Request, error: Exception) -> web.StreamResponse:
    if isinstance(error, ConnectionError) and has_left(request):
        return web.Response(status=400)  # for the metric; there is nobody left to answer
    tried = f"{request.method} {request.path}"[:200]
    why, name = "an unexpected error; it is in the log under this id", _logged(error)
    if hub_problems.asked(request):
        return hub_problems.problem(500, tried, f"{why}: {name}")
    if archive_problems.asked(request):
        return archive_problems.problem(500, f"{tried}: {why}: {name}")
    return answer(Problem("internal error", tried, why, "report it with the id", name), status=500)


def _answer(request: web.Request, error: HeadraceError) -> web.Response:
    if archive_problems.asked(request):
        return archive_problems.refusal(error, _status_or_log(error))
    if not hub_problems.asked(request):
        return problem_answer(error)
    response = hub_problems.refusal(error, status_of(error))
    if isinstance(error, RangeRefused):
        response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return response


def _status_or_log(error: HeadraceError) -> int:
    """Return the status of an error; what no client can do anything about is logged."""
    status = status_of(error)
    if status == 500 and not isinstance(error, archive_problems.Refused):  # noqa: PLR2004
        _logged(error)
    return status


def _routing_answer(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Answer what the router itself decided: unknown path, wrong method, a redirect."""
    if hub_problems.asked(request):
        return hub_problems.routing(request, error)
    if error.status < 400:  # noqa: PLR2004
        raise error
    if archive_problems.asked(request):
        return archive_problems.routing(error)
    tried = f"{request.method} {request.path}"[:200]
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    todo = "GET /openapi.json lists every route"
    return answer(
        Problem(error.reason.lower(), tried, error.reason, todo), status=error.status, headers=headers
    )


def _logged(error: BaseException) -> str:
    name = uuid.uuid4().hex[:12]
    log.error("request failed", id=name, exc_info=error)
    return name
