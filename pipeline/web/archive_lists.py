"""Lists of archived messages over HTTP (archive contract, section 17.1).

A list is made and checked before its first byte is sent, so its length is always the one announced. A
message whose object is missing or damaged is left out and counted in the header ``X-Archive-Omitted``; the
marks of the pages around it are those they would be with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from pipeline import limits_archive
from pipeline.archive import bson, documents, listing
from pipeline.archive.access import access
from pipeline.archive.bson_list import frame
from pipeline.archive.listing import Page
from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import Damaged
from pipeline.objects.port import ObjectStore
from pipeline.web.archive_callers import caller_of
from pipeline.web.archive_forms import BSON, JSON, respond, wants_json
from pipeline.web.archive_problems import ArchiveProblem
from pipeline.web.archive_query import (
    MessagesAsked,
    SearchAsked,
    TopicAsked,
    page_limit,
    read_query,
    wanted_of,
)
from pipeline.web.content import send
from pipeline.web.context import archive_policy_of, parts_of
from pipeline.web.routes import Route

OMITTED = "X-Archive-Omitted"
LISTS = web.AppKey("archive lists", asyncio.Semaphore)
_G1 = 1


async def get_topic(request: web.Request) -> web.StreamResponse:
    """Send a page of the messages of one topic."""
    asked = read_query(request, TopicAsked)
    return await _answer_page(request, asked, frozenset((request.match_info["archived_topic"],)))


async def get_messages(request: web.Request) -> web.StreamResponse:
    """Send a page of the messages of some topics, or of all."""
    asked = read_query(request, MessagesAsked)
    return await _answer_page(request, asked, frozenset(asked.topic) or None)


async def get_count(request: web.Request) -> web.Response:
    """Count the messages of some topics, or of all."""
    asked = read_query(request, SearchAsked)
    wanted = await wanted_of(request, await caller_of(request), asked, frozenset(asked.topic) or None)
    return respond(request, {"count": await listing.count(parts_of(request).database, wanted)})


async def get_topics(request: web.Request) -> web.Response:
    """Name the topics of which the caller sees messages."""
    database = parts_of(request).database
    user = await caller_of(request)
    names = set(await listing.public_topics(database))
    if user is not None:
        known = await listing.topic_names(database)
        names |= access.readable(user, known, archive_policy_of(request))
    return respond(request, {"topics": sorted(names)})


async def _answer_page(
    request: web.Request, asked: TopicAsked, topics: frozenset[str] | None
) -> web.StreamResponse:
    limit = page_limit(asked)
    wanted = await wanted_of(request, await caller_of(request), asked, topics)
    page = await listing.read_page(
        parts_of(request).database,
        wanted,
        limit=limit,
        mark=asked.page,
        ascending=asked.asc,
        most_bytes=None if asked.meta else limits_archive.ARCHIVE_LIST_BYTES,
    )
    marks = {"next": page.next, "prev": page.prev}
    if asked.meta:
        return respond(request, {"messages": [_described(row) for row in page.rows], **marks})
    async with request.app[LISTS]:
        return await _answer_full(request, page, marks)


def _described(row: ArchivedRow) -> dict[str, Any]:
    metadata: dict[str, Any] = {"topic": row.topic, "timestamp": row.timestamp}
    if row.layout == _G1:
        metadata["layout"] = _G1
    return {
        "metadata": metadata,
        "annotations": {
            "con_text_uuid": str(row.uuid),
            "size": row.size,
            "crc32": row.crc32,
            "public": row.public,
            "con_message_crc32": row.message_crc32,
            "title": row.title,
            "sender": row.sender,
            "media_type": row.media_type,
            "file_name": row.file_name,
            "originator": row.originator,
            "retracted": row.retracted,
        },
    }


async def _answer_full(
    request: web.Request, page: Page, marks: Mapping[str, str | None]
) -> web.StreamResponse:
    objects = parts_of(request).archived
    rows = page.rows
    if len(rows) == 1 and rows[0].size > limits_archive.ARCHIVE_LIST_BYTES:
        return await _answer_large(request, objects, rows[0], marks)
    found = await documents.read_documents(objects, rows)
    kept = [found[row.uuid] for row in rows if row.uuid in found]
    if wants_json(request):
        return await _answer_json(request, kept, marks, of=len(rows))
    outside = frame(marks, [len(document) for document in kept])

    async def pieces() -> AsyncIterator[bytes]:
        yield outside.head
        for before, document in zip(outside.before, kept, strict=True):
            yield before + document
        yield outside.tail

    return await _send(request, BSON, outside.size_bytes, pieces(), omitted=len(rows) - len(kept))


async def _answer_large(
    request: web.Request, objects: ObjectStore, row: ArchivedRow, marks: Mapping[str, str | None]
) -> web.StreamResponse:
    """Send a list of one message too large to be held: it is read once before, to see that it is whole."""
    if wants_json(request):
        return await _answer_json(request, [], marks, of=1)
    whole = await documents.is_whole(objects, row)
    outside = frame(marks, [row.size] if whole else [])

    async def pieces() -> AsyncIterator[bytes]:
        yield outside.head
        for before in outside.before:
            yield before
            async for piece in documents.open_document(objects, row):
                yield piece
        yield outside.tail

    return await _send(request, BSON, outside.size_bytes, pieces(), omitted=0 if whole else 1)


async def _answer_json(
    request: web.Request, kept: Sequence[bytes], marks: Mapping[str, str | None], *, of: int
) -> web.StreamResponse:
    """Send the list as JSON, without the messages of which there is no JSON."""
    written = await asyncio.to_thread(_as_json, kept)
    members = msgspec.json.encode(marks)[:-1]
    pieces = [members + b', "messages": [', b", ".join(written), b"]}"]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return await _send(request, JSON, sum(map(len, pieces)), body(), omitted=of - len(written))


def _as_json(kept: Sequence[bytes]) -> list[bytes]:
    written = []
    for document in kept:
        with suppress(Damaged):
            written.append(bson.to_json(document))
    return written


async def _send(
    request: web.Request, media: str, size_bytes: int, pieces: AsyncIterator[bytes], *, omitted: int
) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = media
    response.content_length = size_bytes
    if omitted:
        response.headers[OMITTED] = str(omitted)
    return await send(request, response, pieces)


_SHARED: dict[str, Any] = {
    "methods": ("GET",),
    "tag": "archive",
    "media": BSON,
    "other_media": JSON,
    "problem": ArchiveProblem,
}
_PAGES = (
    "At most 16 MiB of messages a page, or one that is larger. Anonymous callers see public messages only. "
    "`X-Archive-Omitted` counts messages that were left out because their objects are missing or damaged."
)

ROUTES = (
    Route(
        path="/api/archive/topic/{archived_topic}",
        handler=get_topic,
        summary="The messages of a topic, page by page",
        text=_PAGES,
        query=TopicAsked,
        errors=(400, 401, 503),
        streams=True,
        **_SHARED,
    ),
    Route(
        path="/api/archive/topics",
        handler=get_topics,
        summary="The topics of which there are messages the caller may read",
        errors=(401, 503),
        **_SHARED,
    ),
    Route(
        path="/api/archive/messages",
        handler=get_messages,
        summary="The messages of all topics, or of some, page by page",
        text=_PAGES,
        query=MessagesAsked,
        errors=(400, 401, 503),
        streams=True,
        **_SHARED,
    ),
    Route(
        path="/api/archive/messages/count",
        handler=get_count,
        summary="How many messages there are",
        query=SearchAsked,
        errors=(400, 401, 503),
        **_SHARED,
    ),
)
