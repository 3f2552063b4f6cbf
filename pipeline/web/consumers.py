"""Consumers of the hub, plugins among them: who asks for what, how far behind it is, what is out at it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.events.groups import Subscription
from pipeline.events.names import Model
from pipeline.hub.notices import Registered
from pipeline.hub.standing import Census, LaneStanding, Out, lanes_standing
from pipeline.hub.wanted_words import in_words
from pipeline.web import pause
from pipeline.web.answers import answer
from pipeline.web.context import fresh_tables, notices_of, parts_of, sharing_of
from pipeline.web.paging import Cut, cut
from pipeline.web.routes import Asked, Nothing, Route, asked

Name = Annotated[str, Meta(max_length=1000, description="Only consumers of this name.")]
Mark = Annotated[
    str, Meta(max_length=2 * limits.CONSUMER_KEY_MAX_BYTES, description="The `next` of the page before.")
]


class ConsumersAsked(Asked, frozen=True):
    """The query of the list."""

    name: Name = ""
    limit: Annotated[int, Meta(ge=1, le=limits.CONSUMERS_PAGE_MAX, description="At most so many.")] = 20
    after: Mark = ""


class ConsumerShown(msgspec.Struct, frozen=True):
    """A consumer as it last asked. Times are unix seconds."""

    key: str
    """Requests of one key share a position."""
    name: str
    version: str
    model: Model
    sources: tuple[str, ...]
    """None: all."""
    actions: tuple[str, ...]
    """None: all."""
    flow: tuple[Subscription, ...]
    route: Literal["active", "passive"]
    """`active`: it takes tasks."""
    filter: list[str]
    """What else it asks for, in words."""
    deployment_key: str
    user_agent: str
    seen: float
    """When it asked; known to within ten minutes while it keeps asking."""
    server: str | None
    """The process that serves it; None while none has said so."""
    paused: bool
    """It is handed nothing now."""
    lag: int
    """Of all lanes together."""
    lanes: list[LaneStanding]
    """Highest priority first."""
    out: Out


class ConsumerPage(msgspec.Struct, frozen=True):
    """Some consumers, by key."""

    consumers: list[ConsumerShown]
    total: int
    next: str | None


async def list_consumers(request: web.Request) -> web.Response:
    """Answer a page of the consumers that asked for something in the last day."""
    page = await page_of(request, asked(request, ConsumersAsked))
    return answer(ConsumerPage(page.items, page.total, page.next))


async def get_consumer(request: web.Request) -> web.Response:
    """Answer one consumer."""
    asked(request, Nothing)
    [shown] = await standing_of(request, [await found(request)])
    return answer(shown)


async def page_of(request: web.Request, wanted: ConsumersAsked) -> Cut[ConsumerShown]:
    """Return a page of the consumers that asked lately. Raises `Unavailable`."""
    notices = notices_of(request)
    await notices.refresh()
    matching = [each for each in notices.consumers() if wanted.name in {"", each.wanted.name}]
    page = cut(matching, lambda each: (0.0, each.key), limit=wanted.limit, after=wanted.after)
    return Cut(await standing_of(request, page.items), page.total, page.next)


async def found(request: web.Request) -> Registered:
    """Return the consumer named in the path.

    Raises:
        NotFound: None of this key is known.
        Unavailable: The log does not answer.
    """
    key, notices = request.match_info["consumer"], notices_of(request)
    await notices.refresh()
    consumer = notices.consumer(key)
    if consumer is None:
        raise NotFound(
            f"find consumer {key[:200]!r}",
            "none of this key asked for anything lately",
            "GET /api/consumers lists those that did",
        )
    return consumer


async def standing_of(request: web.Request, consumers: Sequence[Registered]) -> list[ConsumerShown]:
    """Look where consumers stand. Raises `Unavailable`."""
    parts, sharing, tables = parts_of(request), sharing_of(request), await fresh_tables(request)
    lanes = await lanes_standing(parts.log, parts.settings.events.prefix, consumers)
    census = await asyncio.to_thread(Census, await tables.tasks(), await tables.parked())
    paused = pause.described(notices_of(request), parts.clock.unix()).state == "paused"
    return [
        _shown(each, some, census.out_at(each), sharing.server_of(each.key), paused=paused)
        for each, some in zip(consumers, lanes, strict=True)
    ]


def _shown(
    consumer: Registered, lanes: list[LaneStanding], out: Out, server: str | None, *, paused: bool
) -> ConsumerShown:
    wanted = consumer.wanted
    return ConsumerShown(
        key=consumer.key,
        name=wanted.name,
        version=wanted.version,
        model=wanted.model,
        sources=wanted.require_sources,
        actions=wanted.require_events,
        flow=wanted.consumer.subscriptions,
        route="active" if wanted.is_task else "passive",
        filter=in_words(wanted),
        deployment_key=wanted.deployment_key,
        user_agent=wanted.user_agent,
        seen=consumer.seen,
        server=server,
        paused=paused and wanted.is_task,
        lag=sum(lane.lag or 0 for lane in lanes),
        lanes=lanes,
        out=out,
    )


_SHARED: dict[str, Any] = {"methods": ("GET",), "tag": "consumers"}

ROUTES = (
    Route(
        path="/api/consumers",
        handler=list_consumers,
        summary="List the consumers, and how far behind they are",
        text="Those that asked for something in the last day. Lag counts every record between a consumer's "
        "position and the end, those its filter will pass over among them.",
        query=ConsumersAsked,
        answer=ConsumerPage,
        errors=(400, 503),
        **_SHARED,
    ),
    Route(
        path="/api/consumers/{consumer}",
        handler=get_consumer,
        summary="One consumer",
        answer=ConsumerShown,
        errors=(400, 404, 503),
        **_SHARED,
    ),
)
