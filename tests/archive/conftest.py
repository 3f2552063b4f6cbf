"""An archive of its own for each test, on either database."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archive import Archive as KeptArchive
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import ManualClock, SystemClock
from pipeline.database.engine import Database
from pipeline.log.port import Log
from pipeline.objects.memory import MemoryStore
from tests.archive.archived import Archive
from tests.archive.restoring import log_at, opened, remove_topics
from tests.databases import KINDS, postgres_schema


@pytest.fixture(params=KINDS)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/archive.sqlite"
        return
    async with postgres_schema(request.getfixturevalue("postgres_dsn")) as url:
        yield url


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an open database with all tables."""
    opened = Database(database_url, tmp_path, attempts=1)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[MemoryStore]:
    """Give an empty object store."""
    store = MemoryStore(tmp_path / "spool")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def archive(database: Database, objects: MemoryStore) -> Archive:
    """Give what is stored, for looking at."""
    return Archive(objects, database)


async def plain_text(blocks: Sequence[bytes]) -> list[str]:
    """Stand in for libmagic."""
    return ["text/plain"] * len(blocks)


@pytest.fixture
def new_writer(database: Database, objects: MemoryStore) -> Callable[..., ArchiveWriter]:
    """Give a maker of writers over the same archive; its keywords replace what they name."""
    clock = ManualClock(dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC))

    def make(**changes: Any) -> ArchiveWriter:
        chosen: dict[str, Any] = {
            "objects": objects,
            "database": database,
            "clock": clock,
            "media_types": plain_text,
        }
        return ArchiveWriter(**(chosen | changes))

    return make


@pytest.fixture
def new_packer(new_writer: Callable[..., ArchiveWriter]) -> Callable[..., PackWriter]:
    """Give a maker of writers of packs over the same archive; a larger message than 200 kB goes alone."""
    return lambda **changes: PackWriter(new_writer(**changes), pack_bytes=200_000)


@pytest.fixture
def writer(new_writer: Callable[..., ArchiveWriter]) -> ArchiveWriter:
    """Give one writer."""
    return new_writer()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def destination(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> AsyncIterator[Log]:
    """Give an open log of each kind to restore to."""
    kafka = request.param == "kafka"
    address = request.getfixturevalue("kafka_address") if kafka else f"{tmp_path}/log"
    async with opened(log_at(address)) as log:
        yield log
    if kafka:
        await remove_topics(address, unique)


@pytest.fixture
def kept(database: Database, objects: MemoryStore) -> KeptArchive:
    """Give the archive as those who restore see it."""
    return KeptArchive(objects, database, SystemClock())
