"""Web pages of other origins that may use the archive's routes, and only those (Fetch standard, CORS).

The settings `archive.cors_origins` and `archive.cors_origin_regex` name them; with neither, none may.
"""

from __future__ import annotations

import re

from aiohttp import web

from pipeline.errors import SettingError
from pipeline.settings import ArchiveSettings
from pipeline.web import archive_problems
from pipeline.web.routes import Handler

_METHODS = "GET, POST, PUT, OPTIONS"
_EXPOSED = "Authentication-Info, Content-Disposition, WWW-Authenticate, X-Archive-Omitted"
_MAX_AGE_SECONDS = 600


class Origins:
    """The origins that are let in.

    Raises:
        SettingError: The pattern is no regular expression.
    """

    def __init__(self, settings: ArchiveSettings) -> None:
        self._named = frozenset(origin.rstrip("/") for origin in settings.cors_origins)
        try:
            self._pattern = re.compile(settings.cors_origin_regex)
        except re.error as error:
            raise SettingError(
                f"setting archive.cors_origin_regex = {settings.cors_origin_regex!r}", str(error)
            ) from error

    def allow(self, request: web.Request) -> bool:
        """Say whether a request for the archive comes from a page of such an origin."""
        origin = request.headers.get("Origin")
        if origin is None or not archive_problems.asked(request):
            return False
        return origin in self._named or bool(self._pattern.pattern and self._pattern.fullmatch(origin))


ORIGINS = web.AppKey("origins", Origins)


@web.middleware
async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell a browser what pages of other origins may do, before it lets them."""
    asked = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or asked is None or not request.app[ORIGINS].allow(request):
        return await handler(request)
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
        "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
    }
    return web.Response(status=204, headers=headers)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let a page of an allowed origin read the answer."""
    if not archive_problems.asked(request):
        return
    response.headers["Vary"] = "Origin"
    if request.app[ORIGINS].allow(request):
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
