"""The hub's events over HTTP, as clients of the dispatcher know them. Contract: dispatcher section 8."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from aiohttp import web

from pipeline import limits
from pipeline.errors import EventError, NotFound
from pipeline.events.codec import Failure, Posted, decode_posted, encode_as_posted
from pipeline.events.models import Event, model_named
from pipeline.hub.counts import BUFFER, TRANSFORM
from pipeline.hub.publish import Published
from pipeline.hub.steps import AGED_OFF
from pipeline.metrics_hub import PRODUCE_STAGES
from pipeline.web import bodies
from pipeline.web.answers import answer
from pipeline.web.context import notices_of, publisher_of
from pipeline.web.hub_problems import ALL_AGED_OFF, ALL_FILTERED, HubProblem, Refused
from pipeline.web.routes import Asked, Route

_INVALID = "PostEvent TransformEvents invalid events"
_TRUE = frozenset(("true", "1"))
Fault = Callable[[Event], str | None]
"""Says why an event is not accepted, None when it is."""


class PublishQuery(Asked, frozen=True):
    """The query of a publish. Further parameters are ignored; flags are on for ``true`` and ``1`` only."""

    model: Annotated[str, msgspec.Meta(description="One of the seven models.")]
    sync: Annotated[
        str, msgspec.Meta(description="Accepted; the answer always comes after the events are durable.")
    ] = ""
    avro_format: Annotated[str, msgspec.Meta(description="The body is an Avro bulk instead of JSON.")] = (
        msgspec.field(default="", name="avro-format")
    )
    include_ok: Annotated[str, msgspec.Meta(description="Return the published events.")] = ""
    pause_plugins: Annotated[
        str, msgspec.Meta(description="Hand out no tasks for ten minutes, whatever comes of the publish.")
    ] = ""


class PublishAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a publish."""

    total_ok: int
    """Events that were valid, whether or not the pipeline dropped them."""
    total_failures: int
    failures: list[Failure]
    ok: tuple[msgspec.Raw, ...] = ()
    """The posted events that were published, in their final form; only when asked for."""


async def publish(request: web.Request) -> web.Response:
    """Publish events of one model."""
    query = request.query
    if query.get("pause_plugins") in _TRUE:
        await notices_of(request).ready()
        await notices_of(request).pause()
    try:
        model = model_named(query.get("model", ""))
    except NotFound as error:
        raise Refused(400, "not a registered model type", str(error)) from None
    with PRODUCE_STAGES.labels(BUFFER).time():
        body = await bodies.whole(request, limits.PUBLISH_MAX_BYTES)
    if not body:
        raise Refused(400, "Empty Request", "no content in request body")
    publisher = publisher_of(request)
    avro = query.get("avro-format") in _TRUE
    with PRODUCE_STAGES.labels(TRANSFORM).time():
        posted = await _decoded(_from_avro if avro else decode_posted, model, body, publisher.fault)
    published = await publisher.publish(posted.events)
    _check(published, posted)
    ok: tuple[msgspec.Raw, ...] = ()
    if query.get("include_ok") in _TRUE:
        ok = tuple(msgspec.Raw(encode_as_posted(event)) for event in published.events)
    done = PublishAnswer(len(posted.events), len(posted.failures), posted.failures, ok)
    return answer(done)


def _from_avro(model: str, body: bytes, fault: Fault) -> Posted:
    from pipeline.events.avro import decode_posted_bulk

    return decode_posted_bulk(model, body, fault)


async def _decoded(
    decode: Callable[[str, bytes, Fault], Posted], model: str, body: bytes, fault: Fault
) -> Posted:
    try:
        if len(body) > limits.PUBLISH_INLINE_BYTES:
            return await asyncio.to_thread(decode, model, body, fault)
        return decode(model, body, fault)
    except EventError as error:
        raise Refused(422, _INVALID, error.why) from error


def _check(published: Published, posted: Posted) -> None:
    """Raises `Refused` when something could not be written, or nothing was left to write."""
    errors = published.errors
    if errors:
        raise Refused(
            500,
            "failed ProduceAnyEvents",
            f"successfully submitted {published.written}/{published.wanted} events with the failed events "
            f"providing the following errors: {'; '.join(errors)}",
        )
    if published.written:
        return
    title = "All events to be published have been filtered out"
    if published.dropped[AGED_OFF]:
        why = "all submitted events aged off immediately, is the submission time older than ageoff?"
        raise Refused(425, title, why, ALL_AGED_OFF)
    raise Refused(425, title, _filtered(published.dropped, posted.failures), ALL_FILTERED)


def _filtered(dropped: Counter[str], failures: Sequence[Failure]) -> str:
    steps = ",".join(f"{step}:{count}" for step, count in sorted(dropped.items()))
    invalid = "; ".join(failure.error for failure in failures)
    return f"all events were filtered by the pipeline [{steps}]" + (
        f"; invalid: {invalid}" if invalid else ""
    )


ROUTES = (
    Route(
        methods=("POST",),
        path="/api/v2/event",
        handler=publish,
        summary="Publish events of one model",
        tag="hub",
        query=PublishQuery,
        body=("application/json", "application/octet-stream"),
        answer=PublishAnswer,
        problem=HubProblem,
        errors=(400, 422, 425, 500),
    ),
)
