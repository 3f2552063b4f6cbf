"""Fetching events from the hub, as clients of the dispatcher know it. Contract: dispatcher section 10."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
import structlog
from aiohttp import web
from msgspec.structs import replace

from pipeline.errors import EventError, TooLarge, Unavailable
from pipeline.events import forms
from pipeline.events.codec import decode_stored
from pipeline.events.models import Model
from pipeline.hub.counts import count_fetched, count_requested
from pipeline.web.context import parts_of, sharing_of
from pipeline.web.delivery import deliver, has_left
from pipeline.web.hub_fetch_query import FetchQuery
from pipeline.web.hub_problems import HubProblem, Refused
from pipeline.web.hub_query import wanted_of
from pipeline.web.hub_sharing import PATH, Answer
from pipeline.web.routes import Handler, Nothing, Route, asked

_log = structlog.get_logger(__name__)
_BOUNDARY_BYTES = 30


def fetching(*, task: bool) -> Handler:
    """Make the handler of the active or the passive route."""

    async def fetch(request: web.Request) -> web.StreamResponse:
        hub = parts_of(request).settings.hub
        wanted = wanted_of(
            request,
            request.match_info["model"],
            task=task,
            fetch_limit=hub.fetch_limit,
            wait_seconds=hub.default_wait_seconds,
        )
        count_requested(wanted)
        try:
            async with sharing_of(request).fetch(wanted, lambda: has_left(request)) as answer:
                response = await _send(request, wanted.model, answer, avro=wanted.avro)
        except TooLarge as error:
            raise Refused(422, "bad parameters", str(error)) from error
        except Unavailable as error:
            raise Refused(500, "Fetch Failed", str(error)) from error
        info = answer.info
        not_ready = [name for name in info.consumers_not_ready.split(",") if name]
        count_fetched(wanted, fetched=info.fetched, removed=info.filters, not_ready=not_ready)
        return response

    return fetch


async def _send(request: web.Request, model: Model, answer: Answer, *, avro: bool) -> web.StreamResponse:
    """Send an answer; it has reached the client's machine when this returns."""
    boundary = secrets.token_hex(_BOUNDARY_BYTES)
    info, events = answer.info, answer.events
    start, end = b'{"events":[', b"]}"
    if avro:
        events, count = await asyncio.to_thread(_bulk, model, b"%b%b%b" % (start, events, end))
        start, end = b"", b""
        info = replace(info, fetched=count)
    said = msgspec.json.encode(info)
    before = b"%b%b\r\n%b%b" % (_head(boundary, "info"), said, _head(boundary, "events"), start)
    after = b"%b\r\n--%b--\r\n" % (end, boundary.encode())
    if has_left(request):
        raise ConnectionResetError("the client has left")
    response = web.StreamResponse(headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    response.content_length = len(before) + len(events) + len(after)
    await response.prepare(request)
    # In pieces: events are many bytes to put together once more.
    await deliver(request, response, (before, events, after))
    return response


def _head(boundary: str, name: str) -> bytes:
    return (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{name}.json"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _bulk(model: Model, events: bytes) -> tuple[bytes, int]:
    """Return events in Avro, and how many; what can be passed on as text and not be read is left out."""
    from pipeline.events.avro import encode_avro_bulk

    decoded = []
    for value in msgspec.json.decode(events, type=dict[str, list[msgspec.Raw]])["events"]:
        try:
            event = decode_stored(model, bytes(value))
            decoded += [] if event is None else [forms.normal(event)]
        except EventError as error:
            _log.debug("an event cannot be handed out in Avro", reason=str(error))
    return encode_avro_bulk(model, decoded), len(decoded)


async def pass_on(request: web.Request) -> web.StreamResponse:
    """Answer a fetch that another process of this installation passes on."""
    asked(request, Nothing)
    return await sharing_of(request).serve(request)


def _route(kind: str, summary: str, *, task: bool) -> Route:
    return Route(
        methods=("GET",),
        path=f"/api/v2/event/{{model}}/{kind}",
        handler=fetching(task=task),
        summary=summary,
        text=(
            "The answer is `multipart/form-data` with two parts: `info` (JSON, see FetchInfo) and `events` "
            '(`{"events": […]}`, or an Avro bulk).'
        ),
        tag="hub",
        query=FetchQuery,
        media="multipart/form-data",
        problem=HubProblem,
        errors=(422, 500),
        streams=True,
    )


ROUTES = (
    _route("passive", "Fetch events; nothing is expected back", task=False),
    _route("active", "Fetch events as tasks, which a status has to end", task=True),
    Route(
        methods=("GET",),
        path=PATH,
        handler=pass_on,
        summary="A fetch passed on by another process of this installation",
        text="A WebSocket between processes of one installation; of no use to others.",
        tag="hub",
        media="application/octet-stream",
        streams=True,
    ),
)
