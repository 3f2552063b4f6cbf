"""Hurry a file: its newest event is published once more, to be taken before everything else.

What expediting is in the metastore contract (section 8.1), for one file and from the log alone: it finds a
file that waits behind others and is not indexed yet.
"""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec.structs import replace

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import Conflict, EventError, NotFound, Unavailable
from pipeline.events.binary import BinaryEvent, BinaryFlags
from pipeline.events.codec import decode_stored
from pipeline.events.names import EXTRACTED, SOURCED
from pipeline.events.topics import EXPEDITE, binary_pattern, system_topic
from pipeline.log.port import Record
from pipeline.web.answers import answer
from pipeline.web.context import parts_of, publisher_of
from pipeline.web.logscan import scan
from pipeline.web.routes import Nothing, Route, asked, sha256_of
from pipeline.web.scope import own_topics


class Hurried(msgspec.Struct, frozen=True):
    """The event that was published again."""

    sha256: str
    id: str
    action: str
    source: str


async def post_hurry(request: web.Request) -> web.Response:
    """Publish the newest event of a file again, expedited."""
    asked(request, Nothing)
    return answer(await hurry(request), status=202)


async def hurry(request: web.Request) -> Hurried:
    """Publish the newest sourced event of the file in the path again, else its newest extracted one.

    Plugins take it first and do their work anew. Durable when it returns.

    Raises:
        NotFound: The newest part of the log has no such event.
        Conflict: It was deleted, has aged off, or its source is no longer configured.
        Unavailable: The log does not answer, or could not be looked at in time.
    """
    sha256, publisher = sha256_of(request), publisher_of(request)
    event = await _newest(parts_of(request), sha256)
    again = replace(event, flags=BinaryFlags(expedite=True, bypass_cache=True), dequeued="", retries=0)
    tried = f"publish {event.action} {sha256} again"
    fault = publisher.fault(again)
    if fault is not None:
        raise Conflict(tried, fault)
    published = await publisher.publish([again])
    if published.errors:
        raise Unavailable(tried, "; ".join(published.errors), "try again")
    if not published.written:
        raise Conflict(tried, f"the pipeline drops it: {', '.join(published.dropped)}")
    return Hurried(sha256, event.kafka_key, event.action, event.source.name)


async def _newest(parts: Parts, sha256: str) -> BinaryEvent:
    prefix = parts.settings.events.prefix
    wanted = binary_pattern(prefix, actions=(SOURCED, EXTRACTED))
    topics = {
        name: count
        for name, count in (await own_topics(parts)).items()
        if wanted.match(name) or name == system_topic(prefix, EXPEDITE)
    }
    found = await scan(
        parts.log, topics, [sha256.encode()], parts.clock, newest=limits.HURRY_RECORDS_PER_PARTITION
    )
    events = [(hit.timestamp_ms, event) for hit in found.hits if (event := _event(hit, sha256)) is not None]
    if events:
        return max(events, key=lambda each: (each[1].action == SOURCED, each[0]))[1]
    tried = f"find an event of {sha256}"
    if found.cut:
        raise Unavailable(tried, found.cut, "try again")
    why = f"the newest {limits.HURRY_RECORDS_PER_PARTITION} records of each partition have none"
    raise NotFound(tried, why, "submit it again")


def _event(record: Record, sha256: str) -> BinaryEvent | None:
    """Return the event a record holds when it says that the file turned up."""
    try:
        event = decode_stored("binary", record.value)
    except EventError:
        return None
    if event is None or event.action not in {SOURCED, EXTRACTED}:
        return None
    return event if event.entity.sha256.lower() == sha256 else None


ROUTES = (
    Route(
        methods=("POST",),
        path="/api/objects/{sha256}/hurry",
        handler=post_hurry,
        summary="Send a file through again, before everything else",
        text="Publishes its newest sourced event once more, else its newest extracted one, with the flags "
        "`expedite` and `bypass_cache`. Looks at the newest part of the log only.",
        tag="objects",
        status=202,
        answer=Hurried,
        errors=(400, 404, 409, 503),
    ),
)
