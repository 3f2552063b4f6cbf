"""Rows written for COPY by hand come back from PostgreSQL as they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive.rows import Row
from pipeline.archive.storing import postgres
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.errors import BadInput
from tests.databases import postgres_schema

pytestmark = pytest.mark.postgres

ROW = Row(
    topic="alerts",
    timestamp=1_700_000_000_000,
    uuid=UUID(int=0),
    size=300,
    key="alerts/2023/11/14/22/first.pack",
    bucket="archive",
    crc32=2**32 - 1,
    is_client_uuid=True,
    public=False,
    direct_upload=False,
    message_crc32=0,
    title="",
    sender="someone",
    media_type="application/json",
    file_name="",
    originator="",
    kafka_partition=0,
    kafka_offset=0,
    cluster=None,
    ingested_at=dt.datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC),
    sha256=bytes(range(32)),
    layout=2,
    event_key=None,
    pack_offset=0,
)
OTHERS: list[dict[str, Any]] = [
    {},
    {"timestamp": -(2**63), "size": 2**31 - 1, "kafka_partition": 2**31 - 1},
    {"timestamp": 2**63 - 1, "kafka_offset": 2**63 - 1, "pack_offset": 2**63 - 1},
    {"is_client_uuid": False, "public": True, "direct_upload": True, "layout": 1},
    {"topic": "ünï", "title": "T \N{SNOWMAN}", "file_name": "f" * 300, "originator": "o", "sender": ""},
    {"cluster": "east", "event_key": "k\N{SNOWMAN}", "bucket": "", "key": "other"},
    {"cluster": "", "event_key": "", "media_type": ""},
    {"ingested_at": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC), "sha256": b"\xff" * 32},
]


@pytest.fixture
async def database(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an open database with all tables."""
    async with postgres_schema(postgres_dsn) as url:
        opened = Database(url, tmp_path, attempts=1)
        await opened.open()
        yield opened
        await opened.close()


async def copied(database: Database, rows: Sequence[Row]) -> set[UUID]:
    """Copy rows in a transaction."""

    async def copy(connection: AsyncConnection) -> set[UUID]:
        await connection.execute(select(1))
        return await postgres.copy(connection, rows)

    return await database.write("copy", copy)


async def stored(database: Database) -> list[tuple[Any, ...]]:
    """Read all rows in order."""
    query = select(*[messages.c[name] for name in Row.__struct_fields__]).order_by(messages.c.id)

    async def ask(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.execute(query)]

    return await database.read("look", ask)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
async def test_rows_come_back_as_they_are(
    database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_COPY_ROWS", at_once)
    rows = [
        msgspec.structs.replace(ROW, **{"kafka_offset": n, **each}, uuid=UUID(int=2**64 + n))
        for n, each in enumerate(OTHERS)
    ]
    assert await copied(database, rows) == {row.uuid for row in rows}
    assert await stored(database) == [msgspec.structs.astuple(row) for row in rows]


@pytest.mark.parametrize("change", [{"kafka_offset": 2**63}, {"size": 2**31}, {"event_key": "\udc80"}])
async def test_a_value_that_fits_no_column_stops_all_of_them_before_they_are_sent(
    database: Database, change: dict[str, Any]
) -> None:
    wrong = msgspec.structs.replace(ROW, **change, uuid=UUID(int=1))
    with pytest.raises(BadInput, match="rows of a pack"):
        await copied(database, [ROW, wrong])
    assert await stored(database) == []
    assert await copied(database, [ROW]) == {ROW.uuid}
