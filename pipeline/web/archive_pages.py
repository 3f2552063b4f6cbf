"""Pages of the archive: its topics with their figures over time, and one topic with what is missing of it.

Plain HTML that needs no script. Every plot has the same figures in a table below it, and what can be
reached by a bar can be reached by a link of that table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from aiohttp import web
from msgspec import Meta

from pipeline.archive import listing
from pipeline.archive.figures.gap_causes import GapsSeen, look
from pipeline.archive.figures.gaps import find_gaps
from pipeline.archive.figures.rates import Rates, Span, TopicRate, rates
from pipeline.archive.figures.totals import TopicTotal, totals
from pipeline.errors import BadInput, HeadraceError, Unavailable
from pipeline.metrics import REGISTRY
from pipeline.web.archive_pages_access import check_topic, no_topic, readable_topics
from pipeline.web.archive_pages_search import SearchAsked
from pipeline.web.archive_pages_span import STEPS, SpanAsked, around, field_of, span_asked
from pipeline.web.context import archive_bytes_of, parts_of
from pipeline.web.html import MEDIA, explained, render
from pipeline.web.plot import Plot, plot, spark
from pipeline.web.routes import Route, asked

Column = Literal["topic", "messages", "bytes", "earliest", "latest", "range"]
_MESSAGES = 25
_GAPS = 50
_TOPICS = 200
"""Topics on the overview; more are found by their names."""
_DUPLICATES = "headrace_archive_duplicate_messages_total"
_RECEIVED = "headrace_archive_received_messages_total"


class OverviewAsked(SpanAsked, frozen=True):
    """The query of the page of the archive."""

    sort: Annotated[Column, Meta(description="The column topics are sorted by.")] = "range"
    order: Annotated[
        Literal["", "up", "down"],
        Meta(description="Smallest first, or largest; names are up by themselves, figures down."),
    ] = ""
    name: Annotated[str, Meta(max_length=300, description="Only topics whose names contain this.")] = ""


class TopicAsked(SpanAsked, frozen=True):
    """The query of the page of one topic."""

    page: Annotated[str, Meta(max_length=200, description="The mark of a page of messages.")] = ""


class TopicLine(NamedTuple):
    """A topic on the overview."""

    total: TopicTotal
    size_bytes: int | None
    in_range: TopicRate | None
    spark: Plot | None
    parked: int


class Figures(NamedTuple):
    """A plot and what belongs to it; without `rate` and `drawn` it says why there are none."""

    span: Span
    rate: TopicRate | None
    drawn: Plot | None
    why: str
    before: int
    behind: int


async def overview(request: web.Request) -> web.Response:
    """Show every topic of the archive with its figures."""
    wanted = asked(request, OverviewAsked)
    parts, readable = parts_of(request), await readable_topics(request)
    known = await totals(parts.database)
    mine = [one for one in known.topics if readable(one.topic)]
    span = _span(wanted, mine, parts.clock.unix())
    counted, why = None, ""
    try:
        counted = await rates(parts.database, span, wanted=readable)
    except (Unavailable, BadInput) as error:
        why = str(error)
    sizes = await archive_bytes_of(request).by_topic()
    named = [one for one in mine if wanted.name in one.topic]
    lines = _sorted(_lines(named, sizes.by_topic, counted, known.parked), wanted)
    return render(
        "archive.html",
        wanted=wanted,
        lines=lines[:_TOPICS],
        lines_total=len(lines),
        whole=_together(mine, sizes.by_topic),
        sizes=sizes,
        figures=_figures(span, None if counted is None else counted.together(), why),
        known=known,
        parked=sum(count for topic, count in known.parked.items() if readable(topic)),
        duplicates=_duplicates(),
        steps=STEPS,
        now=parts.clock.unix(),
        search=SearchAsked(start=field_of(_earliest(mine))),
    )


async def topic_page(request: web.Request) -> web.Response:
    """Show one topic: its figures, what is missing, its newest messages."""
    wanted = asked(request, TopicAsked)
    topic = request.match_info["archived_topic"]
    await check_topic(request, topic)
    parts = parts_of(request)
    known = await totals(parts.database)
    total = next((one for one in known.topics if one.topic == topic), None)
    if total is None:
        raise no_topic(topic)
    span = _span(wanted, [total], parts.clock.unix())
    page = await listing.read_page(
        parts.database,
        listing.Wanted(topics=frozenset((topic,))),
        limit=_MESSAGES,
        mark=wanted.page,
        ascending=False,
    )
    gaps, gaps_why = await _gaps(request, topic)
    return render(
        "archive_topic.html",
        wanted=wanted,
        topic=topic,
        total=total,
        parked=known.parked.get(topic, 0),
        figures=await _counted(request, span, topic),
        gaps=gaps,
        gaps_why=gaps_why,
        page=page,
        steps=STEPS,
        now=parts.clock.unix(),
    )


async def _counted(request: web.Request, span: Span, topic: str) -> Figures:
    try:
        counted = await rates(parts_of(request).database, span, topic=topic)
    except (Unavailable, BadInput) as error:
        return _figures(span, None, str(error))
    return _figures(span, counted.together(), "")


async def _gaps(request: web.Request, topic: str) -> tuple[GapsSeen | None, str]:
    """Look for gaps; what goes wrong is shown in their place."""
    try:
        return await gaps_of(request, topic, limit=_GAPS), ""
    except HeadraceError as error:
        return None, str(error)


async def gaps_of(request: web.Request, topic: str, *, limit: int) -> GapsSeen:
    """Find the gaps of a topic and look at the log they came from. Raises `Unavailable`."""
    parts = parts_of(request)
    settings = parts.settings.archive
    found = await find_gaps(parts.database, topic, cluster=settings.cluster, limit=limit)
    return await look(None if settings.source else parts.log, found)


def _span(wanted: SpanAsked, mine: Sequence[TopicTotal], now: float) -> Span:
    now_ms = int(now * 1000)
    return span_asked(
        wanted,
        earliest_ms=min((one.earliest_ms for one in mine), default=now_ms),
        latest_ms=max((one.latest_ms for one in mine), default=now_ms),
        now_ms=now_ms,
    )


def _figures(span: Span, rate: TopicRate | None, why: str) -> Figures:
    before, behind = around(span)
    return Figures(span, rate, None if rate is None else plot(span, rate.messages), why, before, behind)


def _earliest(mine: Sequence[TopicTotal]) -> int | None:
    return min((one.earliest_ms for one in mine), default=None)


def _together(mine: Sequence[TopicTotal], sizes: Mapping[str, int] | None) -> dict[str, Any]:
    return {
        "topics": len(mine),
        "messages": sum(one.messages for one in mine),
        "size_bytes": None if sizes is None else sum(sizes.get(one.topic, 0) for one in mine),
        "earliest_ms": _earliest(mine),
        "latest_ms": max((one.latest_ms for one in mine), default=None),
    }


def _lines(
    mine: Sequence[TopicTotal],
    sizes: Mapping[str, int] | None,
    counted: Rates | None,
    parked: Mapping[str, int],
) -> list[TopicLine]:
    by_topic = {} if counted is None else {one.topic: one for one in counted.topics}
    lines = []
    for one in mine:
        rate = by_topic.get(one.topic)
        drawn = None if rate is None else spark(rate.messages)
        size = None if sizes is None else sizes.get(one.topic, 0)
        lines.append(TopicLine(one, size, rate, drawn, parked.get(one.topic, 0)))
    return lines


def _sorted(lines: Sequence[TopicLine], wanted: OverviewAsked) -> list[TopicLine]:
    by_name = sorted(lines, key=lambda one: one.total.topic)
    if wanted.sort == "topic":
        return by_name[::-1] if wanted.order == "down" else by_name
    figure = {
        "messages": lambda one: one.total.messages,
        "bytes": lambda one: one.size_bytes or 0,
        "earliest": lambda one: one.total.earliest_ms,
        "latest": lambda one: one.total.latest_ms,
        "range": lambda one: 0 if one.in_range is None else sum(one.in_range.messages),
    }[wanted.sort]
    return sorted(by_name, key=figure, reverse=wanted.order != "up")


def _duplicates() -> int | None:
    """Give how many duplicates this process recognised; None when it archives nothing itself."""
    received, duplicates = (REGISTRY.get_sample_value(name) for name in (_RECEIVED, _DUPLICATES))
    return int(duplicates or 0) if received else None


_PAGE: dict[str, Any] = {"methods": ("GET",), "tag": "pages", "media": MEDIA}

ROUTES = (
    Route(
        path="/archive",
        handler=explained(overview),
        summary="The page of the archive: its topics, and how much came when",
        query=OverviewAsked,
        errors=(400, 503),
        **_PAGE,
    ),
    Route(
        path="/archive/topics/{archived_topic}",
        handler=explained(topic_page),
        summary="The page of one archived topic: its messages, and what is missing",
        query=TopicAsked,
        errors=(400, 404, 503),
        **_PAGE,
    ),
)
