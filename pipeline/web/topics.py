"""Topics: what there is on the log, and what the settings say there should be."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from pipeline.app import Parts
from pipeline.log.port import TopicPartition
from pipeline.topic_changes import Change, apply_changes, find_changes
from pipeline.web.answers import answer
from pipeline.web.context import parts_of
from pipeline.web.routes import Nothing, Route, asked
from pipeline.web.scope import own_topics


class Topic(msgspec.Struct, frozen=True):
    """One topic as it is."""

    name: str
    partitions: int
    records: int
    """Readable records at most: gaps left by compaction are counted."""
    planned: bool
    """Whether the settings ask for it."""
    config: Mapping[str, str]
    """The configuration the settings ask for."""


class Topics(msgspec.Struct, frozen=True):
    """Every topic of this installation, and the names of those that are asked for and missing."""

    topics: list[Topic]
    missing: list[str]


class Plan(msgspec.Struct, frozen=True):
    """Every topic that is not as the settings ask; after applying, those that were not."""

    changes: list[Change]


class Created(msgspec.Struct, frozen=True):
    """Names of the topics just created."""

    created: list[str]


async def topics_of(parts: Parts) -> Topics:
    """Look at every topic of this installation."""
    there = await own_topics(parts)
    partitions = [TopicPartition(name, number) for name, count in there.items() for number in range(count)]
    bounds = await parts.log.bounds(partitions)
    records = dict.fromkeys(there, 0)
    for place, range_ in bounds.items():
        records[place.topic] += range_.end - range_.start
    planned = {spec.name: spec.config for spec in parts.topics.specs}
    return Topics(
        [
            Topic(name, count, records[name], name in planned, planned.get(name, {}))
            for name, count in sorted(there.items())
        ],
        sorted(planned.keys() - there.keys()),
    )


async def list_topics(request: web.Request) -> web.Response:
    """Answer every topic."""
    asked(request, Nothing)
    return answer(await topics_of(parts_of(request)))


async def create_topics(request: web.Request) -> web.Response:
    """Create the topics that are asked for and missing."""
    asked(request, Nothing)
    parts = parts_of(request)
    return answer(Created(await parts.log.create_topics(parts.topics.specs)))


async def show_plan(request: web.Request) -> web.Response:
    """Answer what applying the settings to the topics would change."""
    asked(request, Nothing)
    parts = parts_of(request)
    return answer(Plan(await find_changes(parts.log, parts.topics)))


async def apply_plan(request: web.Request) -> web.Response:
    """Bring the topics to the settings."""
    asked(request, Nothing)
    parts = parts_of(request)
    changes = await find_changes(parts.log, parts.topics)
    await apply_changes(parts.log, changes)
    return answer(Plan(changes))


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/topics",
        handler=list_topics,
        summary="List the topics",
        tag="topics",
        answer=Topics,
        errors=(503,),
    ),
    Route(
        methods=("POST",),
        path="/api/topics",
        handler=create_topics,
        summary="Create the topics the settings name, where they are missing",
        tag="topics",
        answer=Created,
        errors=(503,),
    ),
    Route(
        methods=("GET",),
        path="/api/topics/plan",
        handler=show_plan,
        summary="What separates the topics from the settings",
        tag="topics",
        answer=Plan,
        errors=(503,),
    ),
    Route(
        methods=("POST",),
        path="/api/topics/plan",
        handler=apply_plan,
        summary="Bring the topics to the settings",
        tag="topics",
        answer=Plan,
        errors=(503,),
    ),
)
