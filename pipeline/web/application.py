"""The web application: every route, what stands before them, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from pipeline import limits_archive
from pipeline.app import Parts
from pipeline.archive.access.upload import Spool
from pipeline.archive.source.policies import make_policy
from pipeline.hub.deleted import Deleted
from pipeline.hub.notices import Notices
from pipeline.hub.publish import Publisher
from pipeline.identify.on_demand import OnDemand
from pipeline.identify.pool import ParserPool
from pipeline.objects.location import spool_folder
from pipeline.web import (
    archive_callers,
    archive_cors,
    archive_figures,
    archive_lists,
    archive_messages,
    archive_pages,
    archive_pages_message,
    archive_pages_search,
    archive_upload,
    consumers,
    content,
    debug,
    events,
    exposition,
    guard,
    hub_events,
    hub_fetch,
    hub_simulate,
    hub_streams,
    hurry,
    objects,
    openapi,
    pages,
    parked,
    pause,
    plugin_pages,
    search,
    status,
    tasks,
    topics,
    where,
)
from pipeline.web.answers import answer
from pipeline.web.archive_pages_bytes import ArchiveBytes
from pipeline.web.backlog import Backlog
from pipeline.web.context import (
    ARCHIVE_BYTES,
    ARCHIVE_POLICY,
    BACKLOG,
    DELETED,
    NOTICES,
    PARSER,
    PARTS,
    PUBLISHER,
    SHARING,
    TABLES,
)
from pipeline.web.hub import make_completions, make_gates, make_sharing
from pipeline.web.problems import answer_problems
from pipeline.web.routes import Nothing, Route, asked
from pipeline.web.tables import Tables

RESOURCES = (
    hub_events,
    hub_fetch,
    hub_simulate,
    hub_streams,
    objects,
    hurry,
    content,
    events,
    search,
    where,
    consumers,
    pause,
    tasks,
    parked,
    topics,
    status,
    exposition,
    debug,
    pages,
    plugin_pages,
    archive_figures,
    archive_pages,
    archive_pages_search,
    archive_pages_message,
    archive_messages,
    archive_lists,
    archive_upload,
)


async def describe(request: web.Request) -> web.Response:
    """Answer the description of every route."""
    asked(request, Nothing)
    return answer(_DOCUMENT)


ROUTES: tuple[Route, ...] = (
    *(route for resource in RESOURCES for route in resource.ROUTES),
    Route(
        methods=("GET",),
        path="/openapi.json",
        handler=describe,
        summary="This description",
        tag="status",
    ),
)
_DOCUMENT = openapi.document(ROUTES)


def make_application(parts: Parts, pool: ParserPool | None = None) -> web.Application:
    """Make the application over opened parts; it closes nothing it did not open.

    Without a parser pool it starts its own when the first upload wants to be identified. The tables are
    followed from its start-up to its clean-up.
    """
    middlewares = [
        guard.measure,
        answer_problems,
        guard.check_origin,
        archive_cors.answer_preflight,
        guard.limit_time,
    ]
    application = web.Application(middlewares=middlewares)
    application[PARTS] = parts
    application[TABLES] = tables = Tables(parts)
    application[BACKLOG] = Backlog(parts)
    prefix = parts.settings.events.prefix
    application[PARSER] = OnDemand(parts.settings, parts.clock, pool)
    application[DELETED] = deleted = Deleted(parts.log, prefix, parts.clock)
    completions = make_completions(parts)
    application[PUBLISHER] = publisher = Publisher(
        parts.log,
        prefix=prefix,
        sources=parts.sources,
        deleted=deleted,
        clock=parts.clock,
        completions=completions,
    )
    application[NOTICES] = notices = Notices(parts.log, prefix, parts.clock)
    application[SHARING] = make_sharing(
        parts,
        notices=notices,
        deleted=deleted,
        tables=tables,
        gates=make_gates(parts, publisher, completions),
    )
    application[ARCHIVE_POLICY] = make_policy(parts.settings, parts.clock)
    application[ARCHIVE_BYTES] = ArchiveBytes(parts.database, parts.clock)
    _prepare_archive(application, parts)
    application[guard.ROUTES] = {route.path: route for route in ROUTES}
    for route in ROUTES:
        for method in route.methods:
            application.router.add_route(method, _pattern(route.path), route.handler)
    for add_headers in (guard.add_headers, archive_cors.add_headers, archive_callers.add_headers):
        application.on_response_prepare.append(add_headers)
    application.cleanup_ctx.append(_live)
    return application


def _prepare_archive(application: web.Application, parts: Parts) -> None:
    """Add what the archive's routes share."""
    settings, policy = parts.settings.archive, application[ARCHIVE_POLICY]
    application[archive_cors.ORIGINS] = archive_cors.Origins(settings)
    application[archive_callers.CALLERS] = archive_callers.Callers(settings, policy, parts.clock)
    application[archive_lists.LISTS] = asyncio.Semaphore(limits_archive.ARCHIVE_LISTS_AT_ONCE)
    spool = Spool(spool_folder(parts.settings.data_folder))
    application[archive_upload.UPLOADS] = archive_upload.Uploads(spool)


def _pattern(path: str) -> str:
    """Let a placeholder stand for everything up to a slash; by itself aiohttp takes no braces there."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


async def _live(application: web.Application) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(application[PARSER].close)
        stack.push_async_callback(application[DELETED].close)
        stack.push_async_callback(application[NOTICES].close)
        stack.push_async_callback(application[archive_upload.UPLOADS].spool.close)
        await application[archive_callers.CALLERS].open()
        async with application[TABLES]:
            yield
