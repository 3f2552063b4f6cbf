"""Figures of the archive for programs: how much came when, and what of a topic is missing.

They are of topics everybody may read, and of those the caller has a right to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits_archive
from pipeline.archive.access import access
from pipeline.archive.figures.gap_causes import GapsSeen
from pipeline.archive.figures.rates import Span, Step, TopicRate, last_steps, rates, span_of
from pipeline.errors import BadInput
from pipeline.web.answers import answer
from pipeline.web.archive_callers import caller_of, check_right
from pipeline.web.archive_pages import gaps_of
from pipeline.web.archive_pages_access import readable_topics
from pipeline.web.archive_pages_span import STEPS
from pipeline.web.archive_problems import ArchiveProblem
from pipeline.web.context import archive_policy_of, parts_of
from pipeline.web.routes import Asked, Route, asked

Milliseconds = Annotated[int, Meta(ge=0, le=2**62)]


class RatesAsked(Asked, frozen=True):
    """The query of rates. The range is half-open; without one, the last 48 hours, 30 days or 24 months."""

    step: Annotated[Step, Meta(description="What is counted together.")] = "day"
    start_time: Annotated[Milliseconds | None, Meta(description="Where the range begins, in ms.")] = None
    end_time: Annotated[
        Milliseconds | None, Meta(description="Where it ends, in ms; now, when it is left out.")
    ] = None
    topic: Annotated[str, Meta(max_length=300, description="Only this topic.")] = ""


class RatesAnswer(msgspec.Struct, frozen=True):
    """What was sent by step of time, in whole steps that hold the range asked for."""

    step: Step
    starts_ms: tuple[int, ...]
    """Where each step begins."""
    end_ms: int
    """Where the last step ends."""
    topics: list[TopicRate]
    """A figure for each step; topics without a message in the range are left out."""


class GapsAsked(Asked, frozen=True):
    """The query of gaps."""

    limit: Annotated[
        int, Meta(ge=0, le=limits_archive.ARCHIVE_GAPS_MAX, description="At most so many gaps are listed.")
    ] = 100


async def get_rates(request: web.Request) -> web.Response:
    """Answer how much came when."""
    wanted = asked(request, RatesAsked)
    parts, readable = parts_of(request), await _readable(request, wanted.topic)
    span = _span(wanted, int(parts.clock.unix() * 1000))
    found = await rates(parts.database, span, topic=wanted.topic, wanted=readable)
    return answer(RatesAnswer(span.step, span.starts, span.end_ms, found.topics))


def _span(wanted: RatesAsked, now_ms: int) -> Span:
    end = now_ms + 1 if wanted.end_time is None else wanted.end_time
    if wanted.start_time is None:
        return last_steps(wanted.step, STEPS[wanted.step], end)
    if end <= wanted.start_time:
        raise BadInput("count messages", "the range ends before it begins", "see start_time and end_time")
    return span_of(wanted.step, wanted.start_time, end)


async def _readable(request: web.Request, topic: str) -> Callable[[str], bool]:
    """Give what says which topics the caller may read; refuse whoever names another one."""
    user, policy, public = (
        await caller_of(request),
        archive_policy_of(request),
        await readable_topics(request),
    )
    if topic and not public(topic):
        check_right(request, user, topic, "read")
    return lambda one: public(one) or (user is not None and access.may(user, one, "read", policy))


async def get_gaps(request: web.Request) -> web.Response:
    """Answer what of a topic is not archived."""
    wanted = asked(request, GapsAsked)
    topic = request.match_info["archived_topic"]
    await _readable(request, topic)
    return answer(await gaps_of(request, topic, limit=wanted.limit))


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/archive/rates",
        handler=get_rates,
        summary="How many archived messages and bytes came when, by topic",
        text=(
            "By the messages' own times, in UTC. Only topics the caller may read. 503 when counting takes "
            "too long: ask for less."
        ),
        tag="archive",
        query=RatesAsked,
        answer=RatesAnswer,
        problem=ArchiveProblem,
        errors=(400, 401, 403, 413, 503),
    ),
    Route(
        methods=("GET",),
        path="/api/archive/topics/{archived_topic}/gaps",
        handler=get_gaps,
        summary="Which offsets of a topic are not archived, and what the log says of them",
        text=(
            "A gap is not yet a loss: compaction and transactions leave out offsets too, and test messages "
            "are passed over. `cause` is `in the log` when messages can still be read there."
        ),
        tag="archive",
        query=GapsAsked,
        answer=GapsSeen,
        problem=ArchiveProblem,
        errors=(400, 401, 403, 503),
    ),
)
