"""An audit of objects against rows: nothing that lies in the store without a reason is missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import pytest
from aiobotocore.session import get_session
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits
from pipeline.archive.archive import Archive
from pipeline.archive.audit.store import Fault, verify_store
from pipeline.archive.keys import archive_key
from pipeline.archive.packs import pack_key
from pipeline.clock import SystemClock
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.errors import BadInput
from pipeline.objects.location import make_store
from pipeline.objects.port import ObjectStore
from pipeline.objects.versions import erase, list_versions
from tests.archive.archived import TIME_MS, TOPIC
from tests.archive.harm import (
    FIRST_GENERATION,
    a_store,
    an_archive,
    change_row,
    cut,
    filled,
    first_generation,
)
from tests.conftest import S3Server

LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])
UUID_OF_STRAY = UUID("71234567-89ab-4cde-8f01-23456789abcd")


@pytest.fixture
async def archive(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path, unique: str
) -> AsyncIterator[Archive]:
    """Give an empty archive in which everything was stored long ago."""
    async with a_store(database, request, tmp_path, unique) as objects:
        yield an_archive(objects, database, prefix="kept/")


async def strays(archive: Archive, **options: str) -> dict[str, Fault]:
    """Audit and give the faults by key; every object must have come once."""
    found: dict[str, Fault] = {}
    keys = []
    async for audited in verify_store(archive, **options):
        keys.append(audited.key)
        found.update({stray.key: stray.fault for stray in audited.strays})
    assert len(set(keys)) == len(keys)
    return found


async def put_manifest(archive: Archive, key: str, **values: Any) -> None:
    """Note a pack."""
    row = {
        "cluster": "",
        "topic": TOPIC,
        "kafka_partition": 0,
        "first_offset": 0,
        "last_offset": 9,
        "timestamp": TIME_MS,
        "ingest_time": TIME_MS,
        "key": key,
        "bucket": "",
    }

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(tables.archive_packs), row | values)

    await archive.database.write("test", write)


@LAYOUTS
async def test_an_object_no_row_describes_is_told_and_no_other(archive: Archive, layout: str) -> None:
    await filled(archive, layout)
    make_key = pack_key if layout == "packs" else archive_key
    key = make_key(TOPIC, TIME_MS, UUID_OF_STRAY, archive.prefix)
    await archive.objects.put(key, b"left by a crash")
    assert await strays(archive) == {key: "no row"}


@LAYOUTS
async def test_an_object_that_was_cut_is_told(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await cut(archive.objects, rows[0].key, 30)
    assert await strays(archive) == {rows[0].key: "size"}


@LAYOUTS
async def test_a_row_with_a_wrong_size_is_told(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await change_row(archive.database, rows[-1], size=rows[-1].size + 5)
    assert await strays(archive) == {rows[-1].key: "size"}


async def test_bytes_behind_the_messages_of_a_pack_are_told(archive: Archive) -> None:
    rows = await filled(archive, "packs")
    await archive.objects.put(rows[0].key, bytes(10_000))
    assert await strays(archive) == {rows[0].key: "size"}


async def test_a_pack_that_was_begun_is_told_with_and_without_its_object(archive: Archive) -> None:
    there, nowhere = (pack_key(TOPIC, TIME_MS, uuid4(), archive.prefix) for _ in range(2))
    await put_manifest(archive, there)
    await archive.objects.put(there, b"documents")
    await put_manifest(archive, nowhere, first_offset=10, last_offset=19)
    assert await strays(archive) == {there: "unfinished", nowhere: "unfinished"}
    assert await strays(archive, topic=TOPIC) == {there: "unfinished", nowhere: "unfinished"}
    assert await strays(archive, topic="other") == {}


async def test_what_is_on_its_way_is_not_told(database: Database, archive: Archive) -> None:
    now = an_archive(archive.objects, database, prefix="kept/", clock=SystemClock())
    await put_manifest(now, "kept/x.pack", ingest_time=int(now.clock.unix() * 1000))
    assert await strays(now) == {}


async def test_a_young_object_whose_row_comes_meanwhile_is_not_told(
    database: Database, archive: Archive
) -> None:
    rows = await filled(archive, messages=2)
    now = an_archive(archive.objects, database, prefix="kept/", clock=SystemClock())
    await change_row(database, rows[0], key="elsewhere")
    found = {}
    async for audited in verify_store(now):
        # The last object looked at is the young one, held back to the end.
        await change_row(database, rows[0], key=rows[0].key)
        found.update({stray.key: stray.fault for stray in audited.strays})
    assert found == {}


async def test_a_month_and_a_topic_choose_their_objects(archive: Archive) -> None:
    await filled(archive, messages=1)
    await filled(archive, topic="other", messages=1)
    march = archive_key(TOPIC, 1_709_510_399_999, uuid4(), archive.prefix)  # 3 March 2024
    november = archive_key("other", TIME_MS, uuid4(), archive.prefix)
    for key in (march, november):
        await archive.objects.put(key, b"stray")
    assert await strays(archive, year_month="2024/3") == {march: "no row"}
    assert await strays(archive, year_month="2024/03") == {march: "no row"}
    assert await strays(archive, year_month="2023") == {november: "no row"}
    assert await strays(archive, topic=TOPIC, year_month="2023/11") == {}
    with pytest.raises(BadInput):
        await strays(archive, year_month="March")


@pytest.mark.parametrize("variant", FIRST_GENERATION)
async def test_objects_of_the_first_generation_have_their_rows(archive: Archive, variant: str) -> None:
    headers, key = FIRST_GENERATION[variant]
    await first_generation(archive, uuid4(), headers, key=key)
    assert await strays(archive) == {}


async def test_other_things_of_a_store_without_prefix_are_passed_over(
    database: Database, archive: Archive
) -> None:
    bare = an_archive(archive.objects, database)
    await filled(bare)
    await archive.objects.put(f"source/content/{'a' * 64}", b"a stream")
    await archive.objects.put("parked/some-id", b"a parked record")
    assert await strays(bare) == {}


async def test_many_objects_are_looked_up_in_portions(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_LIST_BATCH", 3)
    rows = await filled(archive, messages=8)

    async def forget(connection: AsyncConnection) -> None:
        gone = tables.messages.c.id == rows[5].id
        await connection.execute(update(tables.messages).where(gone).values(key="elsewhere"))

    await archive.database.write("test", forget)
    assert await strays(archive) == {rows[5].key: "no row"}


# --- versions ---


@pytest.fixture
async def versioned(s3_server: S3Server, tmp_path: Path, unique: str) -> AsyncIterator[ObjectStore]:
    """Give a store in a bucket of its own that keeps versions."""
    address = urlsplit(s3_server.endpoint)
    login = f"{quote(s3_server.access_key)}:{quote(s3_server.secret_key)}"
    session = get_session()
    async with session.create_client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    ) as client:
        await client.create_bucket(Bucket=unique)
        await client.put_bucket_versioning(Bucket=unique, VersioningConfiguration={"Status": "Enabled"})
        url = f"s3+{address.scheme}://{login}@{address.netloc}/{unique}?region={s3_server.region}&prefix=p"
        store = make_store(url, data_folder=tmp_path)
        await store.open()
        yield store
        for found in [found async for found in list_versions(store, "")]:
            await erase(store, found.key)
        await store.close()
        await client.delete_bucket(Bucket=unique)


@pytest.mark.s3
async def test_several_versions_and_leftovers_of_deleted_objects_are_told(
    database: Database, versioned: ObjectStore
) -> None:
    archive = an_archive(versioned, database)
    rows = await filled(archive, messages=3)
    assert await strays(archive) == {}
    await versioned.put(rows[0].key, b"x" * rows[0].size)
    await versioned.delete(rows[1].key)
    assert await strays(archive) == {rows[0].key: "versions", rows[1].key: "deleted"}


@pytest.mark.s3
async def test_what_is_erased_has_no_version_left(versioned: ObjectStore) -> None:
    for key in ("a/k", "a/k2"):
        await versioned.put(key, b"one")
        await versioned.put(key, b"two")
    await versioned.delete("a/k")
    await erase(versioned, "a/k")
    await erase(versioned, "a/k")
    found = [found async for found in list_versions(versioned, "")]
    assert [(each.key, each.number) for each in found] == [("a/k2", 2)]
