"""Messages handed in over HTTP: too large for their topics, or just so (archive contract, 13 and 17.1).

Answered when object and row are durable. Needs a user with the right to write to the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from pipeline import limits_archive, metrics_archive
from pipeline.app import archive_of
from pipeline.archive import bson
from pipeline.archive.access import upload
from pipeline.archive.access.upload import Spool
from pipeline.archive.access.users import User
from pipeline.archive.outcome import Outcome
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.text.text import Texts
from pipeline.errors import TooLarge
from pipeline.identify.pool import ParserPool
from pipeline.web import bodies
from pipeline.web.archive_callers import caller_of, check_right
from pipeline.web.archive_forms import BSON, JSON, respond
from pipeline.web.archive_problems import ArchiveProblem, Refused, read_only
from pipeline.web.context import archive_policy_of, parser_of, parts_of
from pipeline.web.routes import Route


class Uploads:
    """What uploads share: local disk, and how many there may be at once."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.turn = asyncio.Semaphore(limits_archive.ARCHIVE_UPLOADS_AT_ONCE)


UPLOADS = web.AppKey("archive uploads", Uploads)


async def post_message(request: web.Request) -> web.Response:
    """Store one message."""
    settings = parts_of(request).settings.archive
    topic = request.match_info["archived_topic"]
    if settings.read_only:
        raise read_only()
    user = await caller_of(request)
    check_right(request, user, topic, "write")
    assert user is not None  # noqa: S101 - or else there was no right
    result = "failed"
    try:
        outcome = await _receive(request, user, topic)
        result = outcome.status
    except (Refused, upload.Refusal):
        result = "refused"
        raise
    finally:
        metrics_archive.UPLOADS.labels(result).inc()
    if not outcome.stored:
        raise Refused(422, outcome.reason)
    answered = {"archive_uuid": str(outcome.uuid), "is_client_uuid": outcome.is_client_uuid}
    return respond(request, answered, status=201)


async def _receive(request: web.Request, user: User, topic: str) -> Outcome:
    parts = parts_of(request)
    uploads = request.app[UPLOADS]
    most_bytes = parts.settings.archive.object_max_bytes
    async with uploads.turn, uploads.spool.draft() as draft:
        try:
            bodies.check_head(request, most_bytes)
            received = await upload.receive(bodies.raw(request, most_bytes), draft)
        except TooLarge as error:
            raise Refused(413, f"Message is too large; the limit is {most_bytes} bytes") from error
        except upload.Refusal as error:
            raise Refused(400, error.why) from error
        now_ms = int(parts.clock.unix() * 1000)
        message = received.message(topic, user.name, now_ms)
        # Learned anew when it is too old: whether the message is public is decided here, for ever.
        await archive_policy_of(request).fresh_rule(topic, now_ms)
        (outcome,) = await (await _writer(request)).store([message])
        return outcome


async def _writer(request: web.Request) -> ArchiveWriter:
    parts = parts_of(request)
    settings, archive = parts.settings.archive, archive_of(parts)
    policy = archive_policy_of(request)
    pool = await parser_of(request)
    return ArchiveWriter.chosen(
        archive,
        settings,
        policy,
        media_types=partial(_media_types, pool),
        texts=Texts.chosen(policy, pool.texts, settings),
        # The limit is on what is handed in; what the archive notes beside it comes on top.
        object_max_bytes=min(
            settings.object_max_bytes + limits_archive.ARCHIVE_UPLOAD_EXTRA_BYTES, bson.DOCUMENT_MAX_BYTES
        ),
    )


async def _media_types(pool: ParserPool, blocks: Sequence[bytes]) -> Sequence[str]:
    # A block of a mapped payload is a view, which the parser process cannot be sent.
    return await pool.media_types([bytes(block) for block in blocks])


_ERRORS: dict[str, Any] = {"errors": (400, 401, 403, 413, 422, 501, 503), "problem": ArchiveProblem}

ROUTES = (
    Route(
        methods=("POST",),
        path="/api/archive/topic/{archived_topic}",
        handler=post_message,
        summary="Hand in a message",
        text=(
            "BSON `{message, headers?, key?}`. Answered when it is durable. 422: it is stored already. "
            "Topics that end with `+oversized` have the rules of the topic without it."
        ),
        tag="archive",
        body=(BSON, "application/octet-stream"),
        status=201,
        media=BSON,
        other_media=JSON,
        streams=True,
        **_ERRORS,
    ),
)
