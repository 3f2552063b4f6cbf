"""Tables made from nothing, and moved forward from both of upstream's generations (section 9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from pipeline.archive import lookup
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database import tables, versions
from pipeline.database.engine import Database
from pipeline.errors import Conflict
from pipeline.objects.memory import MemoryStore
from tests.archive import upstream_archives
from tests.databases import execute, postgres_schema, rows

TOPIC = "INSERT INTO topics VALUES ('{}', 1, 2, 3)"
NAMES = "SELECT topic FROM topics ORDER BY topic"
VERSIONS = "SELECT * FROM headrace_migrations"


@pytest.fixture
async def empty(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an open database without tables."""
    opened = Database(database_url, tmp_path, attempts=1)
    await opened.open(migrate=False)
    if opened.kind == "postgresql":
        await execute(opened, [f'CREATE SCHEMA "{database_url.rpartition("=")[2]}"'])
    yield opened
    await opened.close()


async def differences(database: Database) -> list[Any]:
    """Compare the tables with `pipeline.database.tables`; changes of one column come as one list."""

    def compare(connection: Connection) -> list[Any]:
        def comparable(_object: object, name: str | None, *_more: object) -> bool:
            # Only PostgreSQL has that kind of index; SQLite keeps its words in tables of its own.
            if connection.dialect.name == "postgresql":
                return True
            own = name in {"message_ts_text_data_idx", "words_id"}
            return not own and not (name or "").startswith("message_words")

        options = {"version_table": versions.VERSION_TABLE, "include_object": comparable}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, tables.METADATA))

    return await database.read("test", lambda connection: connection.run_sync(compare))


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
class TestMigrations:
    """From nothing, and from both of upstream's generations."""

    async def test_from_nothing_makes_the_tables_as_declared(self, database: Database) -> None:
        assert await differences(database) == []

    async def test_the_version_is_told_without_alembic(self, empty: Database) -> None:
        newest = await asyncio.to_thread(versions.newest)

        async def current() -> bool:
            return await empty.read(
                "look", lambda connection: connection.run_sync(versions.is_current, newest)
            )

        assert not await current()
        await empty.migrate()
        assert await current()

    async def test_again_changes_nothing(self, database: Database) -> None:
        await execute(database, [TOPIC.format("a")])
        await database.migrate()
        assert await rows(database, VERSIONS) == [("0002",)]
        assert await rows(database, NAMES) == [("a",)]

    async def test_many_at_once_do_it_once(
        self, empty: Database, database_url: str, tmp_path: Path
    ) -> None:
        others = [Database(database_url, tmp_path) for _ in range(3)]
        await asyncio.gather(*(other.open() for other in others))
        for other in others:
            await other.close()
        assert await differences(empty) == []

    async def test_the_first_generation_is_moved_forward(self, empty: Database) -> None:
        await execute(empty, upstream_archives.first_generation(empty.kind))
        before = await rows(empty, "SELECT id, topic, timestamp, size, key, bucket, crc32 FROM messages")
        await empty.migrate()
        after = await rows(empty, "SELECT id, topic, timestamp, size, key, bucket, crc32 FROM messages")
        assert sorted(after) == sorted(before)
        found = await _by_key(empty)
        assert str(found["k1"].uuid) == "01234567-89ab-4cde-8f01-23456789abcd"
        assert (found["k1"].crc32, found["k1"].is_client_uuid) == (4294967295, True)
        assert (found["k1"].public, found["k1"].title, found["k1"].retracted) == (False, "", False)
        assert {row.layout for row in found.values()} == {None}
        assert {row.kafka_offset for row in found.values()} == {None}
        statistics = await rows(empty, "SELECT * FROM topics ORDER BY topic")
        assert statistics == [("t1", 1000, 3000, 2), ("t2", 2000, 2000, 1)]
        assert await rows(empty, "SELECT field_value FROM message_data") == [("1.5",)]
        await check_usable(empty)

    async def test_rows_that_cannot_live_under_a_unique_uuid_are_set_aside_not_lost(
        self, empty: Database
    ) -> None:
        await execute(empty, upstream_archives.first_generation(empty.kind, misfits=True))
        await empty.migrate()
        assert set(await _by_key(empty)) == {"k1", "k2", "k3"}
        aside = await rows(empty, "SELECT key, uuid FROM messages_set_aside ORDER BY key")
        assert aside == [
            ("k1", "01234567-89ab-4cde-8f01-23456789abcd"),
            ("k4", "no uuid at all"),
            ("k5", "31234567-89ab-4cde-8f01-23456789abcd"),
            ("k6", None),
        ]
        await check_usable(empty)

    async def test_the_second_generation_is_moved_forward(self, empty: Database) -> None:
        await execute(empty, upstream_archives.second_generation(empty.kind))
        await empty.migrate()
        found = await _by_key(empty)
        assert (found["k1"].title, found["k1"].public, found["k1"].layout) == ("T", True, None)
        assert found["k2"].direct_upload
        assert await rows(empty, "SELECT text_fully_indexed FROM message_ts") in ([(True,)], [(1,)])
        statistics = await rows(empty, "SELECT * FROM topics ORDER BY topic")
        assert statistics == [("t1", 1000, 1000, 1), ("t2", 2000, 2000, 1)]
        names = await index_names(empty)
        assert {"key_idx", "timestamp_idx", "topic_idx"} <= names
        assert not {"messages_key_idx", "messages_timestamp_idx", "messages_topic_idx"} & names
        await check_usable(empty)

    @pytest.mark.postgres
    async def test_upstreams_statements_still_work(self, postgres_dsn: str, tmp_path: Path) -> None:
        insert = (
            "INSERT INTO messages (topic, timestamp, uuid, size, key, bucket, crc32, is_client_uuid,"
            " public, direct_upload, message_crc32) VALUES ('t', 1,"
            " '01234567-89ab-4cde-8f01-23456789abcd', 1, 'k', 'b', 1, true, true, false, 1)"
            " ON CONFLICT ON CONSTRAINT messages_uuid_idx DO NOTHING"
        )
        async with postgres_schema(postgres_dsn) as url:
            database = Database(url, tmp_path, attempts=1)
            await database.open()
            await execute(database, [insert, insert])
            assert await rows(database, "SELECT layout, title FROM messages") == [(2, "")]
            await database.close()

    async def test_tables_that_are_no_archive_are_left_alone(self, empty: Database) -> None:
        await execute(empty, ["CREATE TABLE messages (id integer, body text)"])
        with pytest.raises(Conflict, match="no column topic"):
            await empty.migrate()
        assert await table_names(empty) == {"messages"}

    async def test_tables_of_a_newer_release_are_left_alone(self, database: Database) -> None:
        await execute(database, ["UPDATE headrace_migrations SET version_num = '9999'"])
        with pytest.raises(Conflict, match="9999"):
            await database.migrate()


async def _by_key(database: Database) -> dict[str, lookup.ArchivedRow]:
    query = "SELECT CAST(uuid AS text), key FROM messages"
    found = {}
    for uuid, key in await rows(database, query):
        row = await lookup.by_uuid(database, UUID(uuid))
        assert row is not None
        found[key] = row
    return found


async def index_names(database: Database) -> set[str]:
    """Give the names of the indexes of the messages."""

    def names(connection: Connection) -> set[str]:
        return {str(index["name"]) for index in inspect(connection).get_indexes("messages")}

    return await database.read("test", lambda connection: connection.run_sync(names))


async def table_names(database: Database) -> set[str]:
    """Give the names of all tables."""
    return await database.read(
        "test",
        lambda connection: connection.run_sync(lambda sync: set(inspect(sync).get_table_names())),
    )


async def check_usable(database: Database) -> None:
    """Fail unless the archive can go on in the database, and its statistics with it."""

    async def text_only(blocks: Sequence[bytes]) -> list[str]:
        return ["text/plain"] * len(blocks)

    objects = MemoryStore(Path("unused"))
    writer = ArchiveWriter(objects, database, clock=SystemClock(), media_types=text_only)
    batch = [Message("t1", 0, offset, 2000 + offset, None, b"new") for offset in range(3)]
    (before,) = await rows(database, "SELECT n_messages, e_timestamp FROM topics WHERE topic = 't1'")
    assert all(outcome.stored for outcome in await writer.store(batch))
    assert all(outcome.duplicate for outcome in await writer.store(batch))
    after = await rows(database, "SELECT n_messages, e_timestamp FROM topics WHERE topic = 't1'")
    assert after == [(before[0] + 3, before[1])]
    changes = await differences(database)
    assert [change for change in changes if change[0] in ("add_column", "add_table")] == []
    if database.kind == "postgresql":
        assert [change for change in changes if isinstance(change, list)] == []
