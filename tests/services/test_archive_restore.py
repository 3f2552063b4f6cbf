"""An archive in S3 and PostgreSQL played back into Kafka: proven equal, packs read in long stretches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.restore import Options, Selection, restore
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.objects.port import Download, ObjectStore
from tests.archive.conftest import plain_text
from tests.archive.restoring import (
    content,
    contents_of,
    keep,
    keep_many,
    log_at,
    many,
    opened,
    remove_topics,
)
from tests.conftest import S3Server
from tests.databases import postgres_schema
from tests.stores import open_bench

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.postgres]
MESSAGES = 3000
PARTITIONS = 3


class Counting:
    """A store that counts what is read from it, at once and in all."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Get, and count."""
        self.reads += 1
        return await self._inner.get(key, first=first, last=last)


@pytest.fixture
async def archive(
    tmp_path: Path, unique: str, s3_server: S3Server, postgres_dsn: str
) -> AsyncIterator[Archive]:
    """Give an empty archive in S3 and PostgreSQL."""
    bench = open_bench("s3", tmp_path, unique, lambda: s3_server)
    async with bench as made, postgres_schema(postgres_dsn) as url:
        database = Database(url, tmp_path)
        await database.open()
        store: Any = Counting(made.store)
        yield Archive(store, database, SystemClock())
        await database.close()


@pytest.mark.parametrize("order", ["offset", "time"])
async def test_an_archive_in_s3_comes_back_into_kafka_as_it_was(
    archive: Archive, kafka_address: str, unique: str, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "RESTORE_WINDOW_ROWS", 500)
    writer = ArchiveWriter(archive.objects, archive.database, clock=archive.clock, media_types=plain_text)
    packed, single = many(unique, MESSAGES, PARTITIONS), many(f"{unique}.single", 40, 1)
    await asyncio.gather(keep_many(writer, packed), keep(writer, single))
    counting: Any = archive.objects
    counting.reads = 0
    async with opened(log_at(kafka_address)) as log:
        options = Options(order=order, as_sent=True, verify=True)
        report = await restore(archive, log, Selection((f"{unique}*",)), options)
        assert (report.exit_status, report.sent) == (0, MESSAGES + 40)
        found = await contents_of(log, unique)
        assert (await contents_of(log, f"{unique}.single"))[0] == [content(each) for each in single]
    await remove_topics(kafka_address, unique)
    for partition, there in found.items():
        assert there == [content(each) for each in packed if each.partition == partition]
    windows = MESSAGES // 500 + 1
    # Sent and verified: each time a stretch a window and partition, and the single objects.
    assert counting.reads <= 2 * (windows * (PARTITIONS + 1) + 40)
