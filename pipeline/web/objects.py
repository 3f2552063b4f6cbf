"""Objects: submit one, and what is known about one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import BadInput, NotFound
from pipeline.events import times
from pipeline.index.port import Hit
from pipeline.submission import Submitted, submit
from pipeline.web import bodies
from pipeline.web.answers import answer
from pipeline.web.context import parser_of, parts_of
from pipeline.web.copies import Copy, copies_of, documents_of
from pipeline.web.routes import Asked, Nothing, Route, asked, sha256_of

REFERENCE = "reference."


class SubmitAsked(Asked, frozen=True):
    """The query of a submission."""

    source: Annotated[str, Meta(max_length=200, description="A configured source.")] = "testing"
    filename: Annotated[
        str, Meta(max_length=limits.FILENAME_MAX_CHARS, description="Its name, with or without its path.")
    ] = ""
    timestamp: Annotated[
        str,
        Meta(
            max_length=100,
            description="When it was submitted first, RFC 3339; now, when left out. "
            "The same object, time and references are the same event.",
        ),
    ] = ""


class Known(msgspec.Struct, frozen=True):
    """What is known about one object."""

    sha256: str
    copies: list[Copy]
    """Where its bytes are."""
    documents: list[Hit]
    """What was found out about it, newest first."""
    documents_total: int


async def post_object(request: web.Request) -> web.StreamResponse:
    """Store the body and announce it; the answer is sent when both are durable."""
    parts = parts_of(request)
    wanted = asked(request, SubmitAsked, besides=REFERENCE)
    max_bytes = parts.settings.web.upload_max_bytes
    bodies.check_head(request, max_bytes)
    stream, filename, source = await _body(request, wanted, max_bytes)
    pool = await parser_of(request)
    submitted = await submit(
        parts,
        stream,
        source_name=source,
        identify=pool.identify,
        filename=filename,
        references=_references(request),
        source_timestamp=times.parse(wanted.timestamp) if wanted.timestamp else None,
    )
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=303, headers={"Location": f"/?stored={submitted.sha256}"})
    location = {"Location": f"/api/objects/{submitted.sha256}"}
    return answer(submitted, status=201, headers=location)


async def _body(
    request: web.Request, wanted: SubmitAsked, max_bytes: int
) -> tuple[AsyncIterator[bytes], str, str]:
    """Return the stream of the object, its name and its source, from a raw body or a form."""
    if request.content_type != bodies.FORM:
        return bodies.raw(request, max_bytes), wanted.filename, wanted.source
    form = await bodies.form_file(request)
    name = wanted.filename or form.filename
    return bodies.form_bytes(form.part, max_bytes), name, form.fields.get("source", wanted.source)


def _references(request: web.Request) -> dict[str, str]:
    references: dict[str, str] = {}
    for name, value in request.query.items():
        if name.startswith(REFERENCE):
            key = name.removeprefix(REFERENCE)
            if key in references:
                raise BadInput("read the references", f"{key[:100]!r} is given more than once")
            references[key] = value
    return references


async def get_object(request: web.Request) -> web.Response:
    """Answer what is known about an object."""
    asked(request, Nothing)
    sha256 = sha256_of(request)
    return answer(await known(request, sha256))


async def known(request: web.Request, sha256: str) -> Known:
    """Gather what is known about an object.

    Raises:
        NotFound: Nothing.
    """
    parts = parts_of(request)
    page = await documents_of(parts, sha256, limits.OBJECT_DOCUMENTS_MAX)
    copies = await copies_of(parts, sha256, page.hits)
    if not copies and not page.hits:
        raise NotFound(f"find object {sha256}", "neither the store nor the index knows it", "submit it")
    return Known(sha256, copies, page.hits, page.total)


_ANSWERS: dict[str, Any] = {"tag": "objects", "errors": (400, 404, 503)}

ROUTES = (
    Route(
        methods=("POST",),
        path="/api/objects",
        handler=post_object,
        summary="Submit an object",
        text=(
            "The body is the object itself, of any size up to the setting `web.upload_max_bytes`, or a "
            "form whose part `file` is. The answer comes when the object and its event are durable; a "
            "browser that asks for HTML is sent to the start page instead."
        ),
        tag="objects",
        query=SubmitAsked,
        free_query=(REFERENCE, "What to remember with it: `reference.<key>=<value>`, any number."),
        body=("application/octet-stream", bodies.FORM),
        status=201,
        answer=Submitted,
        also=(303,),
        errors=(400, 403, 404, 408, 413, 503),
        streams=True,
    ),
    Route(
        methods=("GET", "HEAD"),
        path="/api/objects/{sha256}",
        handler=get_object,
        summary="What is known about an object",
        answer=Known,
        **_ANSWERS,
    ),
)
