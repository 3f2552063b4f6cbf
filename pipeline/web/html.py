"""How pages are made: templates that escape everything, and what is shown in its own way."""

from __future__ import annotations

import datetime as dt
from functools import partial
from urllib.parse import quote

import jinja2
from aiohttp import web

from pipeline.errors import BadInput, Conflict, NotFound, Unavailable
from pipeline.objects.keys import is_sha256
from pipeline.web.archive_pages_span import field_of, shown_time
from pipeline.web.problems import status_of
from pipeline.web.routes import Handler
from pipeline.web.visible import size_text, visible

MEDIA = "text/html"


def _moment(unix_seconds: float) -> str:
    return dt.datetime.fromtimestamp(unix_seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "visible": visible,
        "size": size_text,
        "moment": _moment,
        "segment": partial(quote, safe=""),
        "is_sha256": is_sha256,
        "count": "{:,}".format,
        "time_ms": shown_time,
        "field_ms": field_of,
    }
    return environment


_ENVIRONMENT = _environment()
_TEMPLATES = {name: _ENVIRONMENT.get_template(name) for name in _ENVIRONMENT.list_templates()}
"""All of them, read now, so that no request reads a file."""


def render(name: str, *, http_status: int = 200, **values: object) -> web.Response:
    """Answer with a page."""
    return web.Response(text=_TEMPLATES[name].render(**values), status=http_status, content_type=MEDIA)


def explained(handler: Handler) -> Handler:
    """Have a page say what went wrong, as people read it."""

    async def explain(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadInput, NotFound, Conflict, Unavailable) as error:
            return render("problem.html", http_status=status_of(error), error=error)

    return explain
