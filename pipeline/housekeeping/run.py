"""`housekeeping run`: archive from a source, real or mock, into a database and a store, real or mock.

Guarantees that what was under way is finished and acknowledged when a run ends, whatever ends it, and that
nothing is acknowledged that is not durable. For real sources the agent of `agents.archive` does the work;
the mock's messages go straight to the writer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from pipeline import limits_archive
from pipeline.app import Parts, make_parts, open_parts
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.verify import verify_message
from pipeline.errors import SettingError
from pipeline.housekeeping import mock_source, store
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.settings import settings_of
from pipeline.housekeeping.watch import Counts, Watch
from pipeline.identify.pool import parser_pool
from pipeline.objects.location import bucket_named, make_store
from pipeline.settings import Settings

log = structlog.get_logger(__name__)


class Wishes(NamedTuple):
    """What a run is to do beyond archiving."""

    test_run: bool = False
    """Read the test topic alone, up to its end marker."""
    verify: bool = False
    """Read every stored message back and compare it."""
    until_eos: bool = False
    """End where the topics end."""
    max_messages: int = 0
    """End after so many messages; 0: do not."""


async def archive(config: Config, wishes: Wishes, counts: Counts, scratch: Path) -> None:
    """Archive until the run is over or cancelled.

    Args:
        config: What was chosen.
        wishes: When to end, what to verify.
        counts: Is kept up to date, so that it is right however the run ends.
        scratch: Folder that is gone when the command ends.

    Raises:
        SettingError: What was chosen cannot be used. Damaged: What is stored is not what was received.
        Unavailable: A part of a mock run does not answer; a real source waits for its parts.
    """
    kind = config.text("hop-type")
    _check(config, kind)
    settings = await settings_of(config, scratch=scratch, test_run=wishes.test_run and kind != "mock")
    async with open_parts(make_parts(settings), wait=kind != "mock") as parts:
        await _make_backup(config, settings)
        watch = Watch(
            counts,
            compare=partial(verify_message, parts.archived, parts.database) if wishes.verify else None,
            test_run=wishes.test_run,
            max_messages=wishes.max_messages or config.number("hop-test-max-messages"),
            objects_every=config.number("store-log-every"),
            rows_every=config.number("db-log-frequency"),
        )
        if kind == "mock":
            await _from_mock(parts, watch)
        else:
            await _from_topics(parts, watch, until_eos=wishes.until_eos or config.flag("hop-until-eos"))


def _check(config: Config, kind: str) -> None:
    if config.flag("read-only"):
        raise SettingError("housekeeping run", "read-only is set", "leave it out to archive")
    if kind == "kcat":
        raise SettingError("housekeeping run", "a source of hop-type kcat is for publishing only")
    mocks = [key for key in ("db-type", "store-type") if config.text(key) == "mock"]
    if kind != "mock" and mocks:
        log.warning("messages are acknowledged and not kept", mock=", ".join(mocks))


async def _make_backup(config: Config, settings: Settings) -> None:
    """Make the backup bucket of an S3 server that is not AWS; there the buckets are somebody's to plan."""
    url = store.backup_url(config)
    if url and config.text("store-endpoint-url"):
        backup = make_store(url, data_folder=settings.data_folder)
        try:
            await backup.open()
        finally:
            await backup.close()


async def _from_mock(parts: Parts, watch: Watch) -> None:
    """Feed the mock's messages to the writer, one at a time: the second of each pair is a duplicate."""
    async with parser_pool(parts.settings, parts.clock) as pool:
        chosen = parts.settings.archive
        writer = ArchiveWriter(
            parts.archived,
            parts.database,
            clock=parts.clock,
            media_types=pool.media_types,
            bucket=bucket_named(parts.settings.objects),
            cluster=chosen.cluster,
            rule=chosen.dedupe,
            object_max_bytes=chosen.object_max_bytes,
        )
        for message in mock_source.messages(int(parts.clock.unix() * 1000)):
            log.info("received", topic=message.topic, timestamp_ms=message.timestamp_ms)
            if watch.wanted(message):
                await watch.settled([message], await writer.store([message]))
            if watch.over.is_set():
                return


async def _from_topics(parts: Parts, watch: Watch, *, until_eos: bool) -> None:
    from agents.run import running

    async with running(parts, names=("archive",), attendant=watch) as agents:
        while not watch.over.is_set():
            if until_eos and not await agents.backlog():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(limits_archive.HOUSEKEEPING_LOOK_SECONDS):
                    await watch.over.wait()
