"""What goes wrong around an archive: told by metrics and `verify`, waited for, and never fatal."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, metrics
from pipeline.app import Parts
from pipeline.archive import lookup
from pipeline.database import tables
from pipeline.log.port import NewRecord, TopicSpec
from tests.agents.archiving import archive_settings, archiving, feed, until_archived
from tests.agents.installation import parked_entries, until
from tests.conftest import S3Server
from tests.faults.refusing_bucket import refusing_bucket
from tests.faults.small_disk import SmallDisk, small_disk
from tests.processes import environment, run, write_settings
from tests.stores import s3_url

DISK_MIB = 16
MESSAGES = 40
LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a disk of its own for the objects."""
    with small_disk(tmp_path / "disk", DISK_MIB) as made:
        if made is None:
            pytest.skip("mounting a file system needs more rights")
        yield made


def counted(name: str, **labels: str) -> float:
    """Return what a metric says."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def retried() -> float:
    """Return how often storing an object was tried again."""
    return counted("headrace_archive_retries_total", step="put")


async def verified(folder: Path, parts: Parts, *, status: int) -> dict[str, object]:
    """Run `headrace archive verify --all --crc` on the archive and return what it prints."""
    chosen = parts.settings
    given = {name: getattr(chosen, name) for name in ("data", "objects", "database")}
    config = write_settings(folder / "verify.toml", given)
    arguments = ["--config", str(config), "archive", "verify", "--all", "--crc", "--json"]
    done = await asyncio.to_thread(run, arguments, environment=environment(folder))
    assert done.returncode == status, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@LAYOUTS
async def test_a_full_disk_is_counted_waited_for_and_nothing_is_lost(
    tmp_path: Path, unique: str, disk: SmallDisk, layout: str
) -> None:
    settings = archive_settings(tmp_path / "data", unique, layout=layout)
    settings = settings.model_copy(update={"objects": f"folder://{disk.folder}"})
    topic = f"{unique}.a"
    async with archiving(settings) as (parts, _):
        await parts.log.create_topics([TopicSpec(topic)])
        await feed(parts.log, topic, MESSAGES)
        await until_archived(parts, topic, MESSAGES)
        disk.fill()
        before = retried()
        await feed(parts.log, topic, MESSAGES)
        await until(lambda: _more(before))
        assert counted("headrace_archive_in_flight_messages") > 0
        await until_archived(parts, topic, MESSAGES)
        disk.free()
        await until_archived(parts, topic, 2 * MESSAGES)
        assert (await verified(tmp_path, parts, status=0))["anomalous"] == 0


@pytest.mark.s3
@LAYOUTS
async def test_a_bucket_that_refuses_writes_is_counted_waited_for_and_nothing_is_lost(
    tmp_path: Path, unique: str, s3_server: S3Server, layout: str
) -> None:
    topic = f"{unique}.a"
    async with refusing_bucket(s3_server) as bucket:
        settings = archive_settings(tmp_path / "data", unique, layout=layout)
        settings = settings.model_copy(update={"objects": s3_url(bucket.server, unique)})
        async with archiving(settings) as (parts, _):
            await parts.log.create_topics([TopicSpec(topic)])
            bucket.refuses = True
            before = retried()
            await feed(parts.log, topic, MESSAGES)
            await until(lambda: _more(before))
            await until_archived(parts, topic)
            bucket.refuses = False
            await until_archived(parts, topic, MESSAGES)
            assert bucket.refused
            assert (await verified(tmp_path, parts, status=0))["anomalous"] == 0
            for stat in [stat async for stat in parts.objects.list()]:
                await parts.objects.delete(stat.key)


@LAYOUTS
async def test_poison_a_lost_object_and_a_flipped_bit_are_named_and_the_rest_goes_on(
    tmp_path: Path, unique: str, layout: str
) -> None:
    settings = archive_settings(
        tmp_path / "data", unique, layout=layout, object_max_bytes=64 * limits.KIB, pack_records=10
    )
    topic = f"{unique}.a"
    async with archiving(settings) as (parts, _):
        await parts.log.create_topics([TopicSpec(topic)])
        await feed(parts.log, topic, 10)
        await until_archived(parts, topic, 10)
        poison = NewRecord(topic, b"poison", bytes(128 * limits.KIB), partition=0)
        parked = counted("headrace_archive_parked_messages_total")
        await parts.log.append([poison])
        await until(lambda: _parked(parked))
        assert [entry.key for entry in await parked_entries(parts)] == [b"poison"]
        await feed(parts.log, topic, 30)
        rows = await until_rows(parts, topic, 40)
        # An object is lost, and a bit of another one flips.
        lost, harmed = rows[0], rows[-1]
        assert lost.key != harmed.key
        await parts.archived.delete(lost.key)
        await flip(parts, harmed)
        found = await verified(tmp_path, parts, status=1)
        gone = sum(row.key == lost.key for row in rows)
        assert found["anomalous"] == gone + 1
        assert found["checked"] == len(rows)
        # Archiving goes on all the same.
        await feed(parts.log, topic, 10)
        assert len(await until_rows(parts, topic, 50)) == 50


async def until_rows(parts: Parts, topic: str, wanted: int) -> list[lookup.ArchivedRow]:
    """Return the rows of a topic, by offset, once there are so many."""
    columns = tables.messages.c
    query = select(*lookup.COLUMNS).where(columns.topic == topic).order_by(columns.kafka_offset)

    async def ask(connection: AsyncConnection) -> list[lookup.ArchivedRow]:
        return [lookup.ArchivedRow(*row) for row in await connection.execute(query)]

    async def there() -> bool:
        return len(await parts.database.read("test", ask)) >= wanted

    await until(there)
    return await parts.database.read("test", ask)


async def flip(parts: Parts, row: lookup.ArchivedRow) -> None:
    """Change one bit of a message's payload where it lies."""
    whole = bytearray(b"".join([chunk async for chunk in await parts.archived.get(row.key)]))
    whole[(row.pack_offset or 0) + 40] ^= 1
    await parts.archived.put(row.key, bytes(whole))
    document = await lookup.read_bytes(parts.archived, row)
    assert zlib.crc32(document) != row.crc32


async def _more(before: float) -> bool:
    return retried() > before


async def _parked(before: float) -> bool:
    return counted("headrace_archive_parked_messages_total") > before
