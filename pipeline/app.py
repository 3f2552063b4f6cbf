"""Wiring: from settings to the parts every process works with.

`make_parts` chooses the implementation of each port; `open_parts` opens them in the order in which they
depend on each other, creates the topics and closes everything again in the reverse order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from pipeline import limits
from pipeline.archive.archive import Archive
from pipeline.clock import Clock, SystemClock
from pipeline.database.engine import Database
from pipeline.errors import SettingError, Unavailable
from pipeline.events.sources import SourceDefinition, parse_sources, sources_from
from pipeline.events.topics import REPLAY, SEEN, TopicPlan, parse_topics, plan, topics_from
from pipeline.index.location import make_index
from pipeline.index.port import Index
from pipeline.log.location import make_log
from pipeline.log.port import Log
from pipeline.objects.copies import CopiedStore
from pipeline.objects.layers import layered
from pipeline.objects.location import bucket_named, make_store, spool_folder
from pipeline.objects.port import ObjectStore
from pipeline.settings import Settings
from pipeline.topic_changes import prepare_topics

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """The parts of one process, chosen by the settings."""

    settings: Settings
    clock: Clock
    log: Log
    objects: ObjectStore
    archived: ObjectStore
    """Where the archive's objects lie: the same store without the layers of streams, with its backup."""
    database: Database
    index: Index
    topics: TopicPlan

    @property
    def sources(self) -> Mapping[str, SourceDefinition]:
        """The configured sources by name."""
        return self.topics.sources


def make_parts(settings: Settings, clock: Clock | None = None) -> Parts:
    """Choose every part; nothing is opened or connected yet.

    Raises:
        SettingError: A URL, source or topic setting is wrong.
    """
    clock = clock or SystemClock()
    data = settings.data_folder
    topics = plan_topics(settings)
    store = make_store(settings.objects, data_folder=data, clock=clock)
    return Parts(
        settings=settings,
        clock=clock,
        log=make_log(settings, clock),
        objects=layered(store, settings.streams, spool=spool_folder(data), clock=clock),
        archived=_with_backup(store, settings, clock),
        database=Database(settings.database, data_folder=data),
        index=make_index(settings),
        topics=topics,
    )


def _with_backup(store: ObjectStore, settings: Settings, clock: Clock) -> ObjectStore:
    backup = settings.archive.backup
    if not backup:
        return store
    tried = "setting archive.backup"
    if backup == settings.objects:
        raise SettingError(tried, "it names the store of the setting objects", "name another one")
    try:
        return CopiedStore(store, make_store(backup, data_folder=settings.data_folder, clock=clock))
    except SettingError as error:
        raise SettingError(tried, error.why, error.todo) from error


def archive_of(parts: Parts) -> Archive:
    """Give the archive as those who read, verify and tidy it see it; it is open while the parts are."""
    settings = parts.settings.archive
    return Archive(
        parts.archived,
        parts.database,
        parts.clock,
        prefix=settings.prefix,
        bucket=bucket_named(parts.settings.objects),
        cluster=settings.cluster,
        protected=settings.protected,
    )


def plan_topics(settings: Settings) -> TopicPlan:
    """Plan sources and topics from the settings and the YAML files they name.

    Raises:
        SettingError: A file cannot be read, or a source or topic is wrong.
    """
    events = settings.events
    sources = sources_from(events.sources, events.prefix)
    sources |= parse_sources(_text("events.sources_file", events.sources_file), events.prefix)
    topics = topics_from(list(events.topics))
    topics += parse_topics(_text("events.topics_file", events.topics_file))
    return plan(
        events.prefix,
        partitions=events.partitions,
        replicas=events.replicas,
        sources=sources,
        topics=topics,
        kept_seconds={SEEN: settings.hub.dedupe_seconds, REPLAY: settings.hub.replay_seconds},
    )


def _text(setting: str, file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"setting {setting} = {file!r}", error.strerror or str(error)) from error


@asynccontextmanager
async def open_parts(parts: Parts, *, wait: bool = False) -> AsyncIterator[Parts]:
    """Open every part, make the topics, and close all on leaving.

    With `wait`, a part that is down is waited for, each try logged with its reason; without it the first
    failure is raised.
    """
    async with AsyncExitStack() as stack:
        openers: list[tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = [
            ("log", parts.log.open, parts.log.close),
            ("objects", parts.objects.open, parts.objects.close),
            ("database", parts.database.open, parts.database.close),
            ("index", parts.index.open, parts.index.close),
        ]
        if parts.settings.archive.backup:
            openers.insert(2, ("archive.backup", parts.archived.open, parts.archived.close))
        for name, opener, closer in openers:
            stack.push_async_callback(closer)
            await _open(name, opener, wait=wait)
        await _open("topics", lambda: _prepare_topics(parts), wait=wait)
        yield parts


async def _prepare_topics(parts: Parts) -> None:
    ignore = parts.settings.events.ignore_topic_mismatch
    await prepare_topics(parts.log, parts.topics, ignore_mismatch=ignore)


async def _open(name: str, opener: Callable[[], Awaitable[None]], *, wait: bool) -> None:
    pause_seconds = limits.CALL_BACKOFF_SECONDS
    while True:
        try:
            return await opener()
        except Unavailable as error:
            if not wait:
                raise
            log.warning("waiting for a part", part=name, reason=str(error))
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
