"""What every handler reaches: the parts, the table views and the agents' lag."""

from __future__ import annotations

from aiohttp import web

from pipeline.app import Parts
from pipeline.archive.source.policy import TopicPolicy
from pipeline.hub.deleted import Deleted
from pipeline.hub.notices import Notices
from pipeline.hub.publish import Publisher
from pipeline.identify.on_demand import OnDemand
from pipeline.identify.pool import ParserPool
from pipeline.web.archive_pages_bytes import ArchiveBytes
from pipeline.web.backlog import Backlog
from pipeline.web.hub_sharing import Sharing
from pipeline.web.tables import Tables

PARTS = web.AppKey("parts", Parts)
TABLES = web.AppKey("tables", Tables)
BACKLOG = web.AppKey("backlog", Backlog)
PUBLISHER = web.AppKey("publisher", Publisher)
PARSER = web.AppKey("parser", OnDemand)
DELETED = web.AppKey("deleted", Deleted)
NOTICES = web.AppKey("notices", Notices)
SHARING = web.AppKey("sharing", Sharing)
ARCHIVE_POLICY = web.AppKey("archive_policy", TopicPolicy)
ARCHIVE_BYTES = web.AppKey("archive_bytes", ArchiveBytes)


def parts_of(request: web.Request) -> Parts:
    """Return the parts this application works with."""
    return request.app[PARTS]


def tables_of(request: web.Request) -> Tables:
    """Return the tables as this application follows them, maybe a moment late."""
    return request.app[TABLES]


async def fresh_tables(request: web.Request) -> Tables:
    """Return the tables with everything that is durable now. Raises `Unavailable`."""
    tables = request.app[TABLES]
    await tables.refresh()
    return tables


def backlog_of(request: web.Request) -> Backlog:
    """Return what watches the agents."""
    return request.app[BACKLOG]


def publisher_of(request: web.Request) -> Publisher:
    """Return what publishes events for clients of the hub."""
    return request.app[PUBLISHER]


def sharing_of(request: web.Request) -> Sharing:
    """Return what answers fetches."""
    return request.app[SHARING]


def notices_of(request: web.Request) -> Notices:
    """Return what the hub's processes tell each other."""
    return request.app[NOTICES]


def archive_policy_of(request: web.Request) -> TopicPolicy:
    """Return what says which topics are public."""
    return request.app[ARCHIVE_POLICY]


def archive_bytes_of(request: web.Request) -> ArchiveBytes:
    """Return what adds up the bytes of the archive."""
    return request.app[ARCHIVE_BYTES]


async def parser_of(request: web.Request) -> ParserPool:
    """Return the parser processes; the first call starts them when nobody else did."""
    return await request.app[PARSER].pool()
