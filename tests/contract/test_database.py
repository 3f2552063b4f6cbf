"""What every database promises, on SQLite and on PostgreSQL (`pipeline.database`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.database.engine import Database
from pipeline.database.location import locate
from pipeline.errors import BadInput, SettingError, StorageFull, Unavailable
from tests.archive.stopping import StopAt
from tests.databases import KINDS, execute, postgres_schema, rows

TOPIC = "INSERT INTO topics VALUES ('{}', 1, 2, 3)"
NAMES = "SELECT topic FROM topics ORDER BY topic"


@pytest.fixture(params=KINDS)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/new/test.sqlite"
        return
    async with postgres_schema(request.getfixturevalue("postgres_dsn")) as postgres_url:
        yield postgres_url


@pytest.fixture
async def database(url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an open database with all tables."""
    opened = Database(url, tmp_path, attempts=1)
    await opened.open()
    yield opened
    await opened.close()


async def _counted(
    work: Callable[[AsyncConnection], Coroutine[Any, Any, None]], stop: StopAt, connection: AsyncConnection
) -> None:
    await stop.watched(work(connection))


class TestTransactions:
    """Reading and writing."""

    async def test_what_was_written_is_there_after_closing(self, database: Database) -> None:
        await execute(database, [TOPIC.format("a")])
        await database.close()
        await database.open()
        assert await rows(database, NAMES) == [("a",)]

    async def test_a_write_that_fails_half_way_never_leaves_half(self, database: Database) -> None:
        with pytest.raises(BadInput):
            await execute(database, [TOPIC.format("a"), TOPIC.format("a")])
        assert await rows(database, NAMES) == []

    async def test_an_error_of_the_work_passes_and_undoes_it(self, database: Database) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql(TOPIC.format("a"))
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            await database.write("test", work)
        assert await rows(database, NAMES) == []

    async def test_a_mistake_in_our_own_statement_never_looks_like_a_failing_server(
        self, database: Database
    ) -> None:
        with pytest.raises(DBAPIError, match="no_such_table"):
            await rows(database, "SELECT * FROM no_such_table")

    async def test_writers_in_one_process_never_lose_an_update(self, database: Database) -> None:
        await execute(database, [TOPIC.format("a")])

        async def increase(connection: AsyncConnection) -> None:
            query = "UPDATE topics SET n_messages = n_messages + 1"
            await connection.exec_driver_sql(query)

        await asyncio.gather(*(database.write("test", increase) for _ in range(30)))
        assert await rows(database, "SELECT n_messages FROM topics") == [(33,)]

    async def test_two_open_databases_never_lose_an_update(
        self, database: Database, url: str, tmp_path: Path
    ) -> None:
        other = Database(url, tmp_path)
        await other.open()
        names = [f"{n:02}" for n in range(20)]
        await asyncio.gather(
            *(execute((database, other)[n % 2], [TOPIC.format(name)]) for n, name in enumerate(names))
        )
        await other.close()
        assert await rows(database, NAMES) == [(name,) for name in names]

    async def test_a_reader_sees_one_state_while_others_write(self, database: Database) -> None:
        async def work(connection: AsyncConnection) -> list[int]:
            counts = []
            for n in range(3):
                result = await connection.exec_driver_sql("SELECT count(*) FROM topics")
                counts.append(result.scalar_one())
                await execute(database, [TOPIC.format(n)])
            return counts

        assert await database.read("test", work) == [0, 0, 0]

    async def test_a_writer_cancelled_at_any_moment_leaves_no_lock_behind(
        self, database: Database, url: str, tmp_path: Path
    ) -> None:
        other = Database(url, tmp_path, attempts=1, timeout_seconds=5)
        await other.open(migrate=False)

        async def work(connection: AsyncConnection) -> None:
            # A SELECT under way keeps SQLite's lock even when its connection is closed.
            await connection.exec_driver_sql("SELECT max(n_messages) FROM topics")
            await connection.exec_driver_sql("UPDATE topics SET l_timestamp = 3")
            await connection.exec_driver_sql("SELECT topic FROM topics")

        moment, reached = 0, True
        while reached:
            moment += 1
            stop = StopAt(moment)
            await stop.run(database.write("test", partial(_counted, work, stop)))
            reached = stop.reached
            await execute(other, [TOPIC.format(f"{moment:03}")])
        await other.close()
        assert await rows(database, NAMES) == [(f"{n:03}",) for n in range(1, moment + 1)]
        assert moment > 5

    async def test_a_writer_cancelled_after_its_first_statement_leaves_no_lock_behind(
        self, database: Database
    ) -> None:
        reached = asyncio.Event()

        async def work(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql(TOPIC.format("a"))
            reached.set()
            await connection.exec_driver_sql("SELECT count(*) FROM topics")

        writing = asyncio.create_task(database.write("test", work))
        await reached.wait()
        writing.cancel()
        await asyncio.wait([writing])
        assert writing.cancelled()
        await execute(database, [TOPIC.format("b")])
        assert ("b",) in await rows(database, NAMES)

    async def test_ping_opening_and_closing_may_be_repeated(self, database: Database) -> None:
        await database.open()
        await database.ping()
        await database.close()
        await database.close()


class TestFailures:
    """What the caller is told."""

    async def test_a_call_that_takes_too_long_is_given_up(self, url: str, tmp_path: Path) -> None:
        database = Database(url, tmp_path, attempts=1)
        await database.open()
        await database.close()
        impatient = Database(url, tmp_path, attempts=1, timeout_seconds=0.5)
        await impatient.open(migrate=False)
        over = asyncio.Event()

        async def work(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql(TOPIC.format("a"))
            await over.wait()

        with pytest.raises(Unavailable, match="no answer within"):
            await impatient.write("test", work)
        over.set()
        assert await rows(impatient, NAMES) in ([], [("a",)])
        await execute(impatient, [TOPIC.format("b")])
        await impatient.close()

    @pytest.mark.postgres
    @pytest.mark.parametrize(
        ("state", "wanted"),
        [
            ("53100", StorageFull),
            ("53300", Unavailable),
            ("57P01", Unavailable),
            ("40P01", Unavailable),
            ("25006", Unavailable),
            ("22003", BadInput),
            ("XX000", DBAPIError),
        ],
    )
    async def test_the_servers_reasons_are_told_apart(
        self, postgres_dsn: str, tmp_path: Path, state: str, wanted: type[Exception]
    ) -> None:
        database = Database(postgres_dsn, tmp_path, attempts=1)
        await database.open(migrate=False)
        with pytest.raises(Exception, match="said so") as caught:
            await execute(database, [f"DO $$BEGIN RAISE 'said so' USING ERRCODE = '{state}'; END$$"])
        assert caught.type is wanted or (wanted is DBAPIError and isinstance(caught.value, DBAPIError))
        await database.close()

    @pytest.mark.postgres
    async def test_a_lost_connection_is_replaced(self, postgres_dsn: str, tmp_path: Path) -> None:
        database = Database(postgres_dsn, tmp_path, attempts=1)
        await database.open(migrate=False)
        with pytest.raises(Unavailable):
            await execute(database, ["SELECT pg_terminate_backend(pg_backend_pid())"])
        await database.ping()
        await database.close()

    async def test_no_room_is_told_apart(self, tmp_path: Path) -> None:
        database = Database("sqlite:", tmp_path, attempts=1)
        await database.open()

        async def fill(connection: AsyncConnection) -> None:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
            await connection.exec_driver_sql("INSERT INTO topics VALUES (hex(zeroblob(100000)), 1, 2, 3)")

        with pytest.raises(StorageFull, match="full"):
            await database.write("test", fill)
        assert await rows(database, NAMES) == []
        await database.close()

    async def test_a_file_that_cannot_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        database = Database(f"sqlite://{tmp_path}/folder", tmp_path, attempts=1)
        with pytest.raises(Unavailable, match="folder"):
            await database.open()
        await database.close()

    async def test_a_parent_that_is_a_file_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        database = Database(f"sqlite://{tmp_path}/file/db.sqlite", tmp_path, attempts=1)
        with pytest.raises(Unavailable, match="file"):
            await database.open()
        await database.close()

    async def test_no_server_is_unavailable(self, tmp_path: Path, unused_port: int) -> None:
        database = Database(f"postgresql://u:secret@127.0.0.1:{unused_port}/d", tmp_path, attempts=1)
        with pytest.raises(Unavailable, match=str(unused_port)) as caught:
            await database.open()
        assert "secret" not in str(caught.value)
        await database.close()

    @pytest.mark.postgres
    @pytest.mark.parametrize("wrong", ["password", "database"])
    async def test_a_refused_login_is_a_wrong_setting(
        self, postgres_dsn: str, tmp_path: Path, wrong: str
    ) -> None:
        place = locate(postgres_dsn, tmp_path).url
        bad = place.set(password="wrong") if wrong == "password" else place.set(database="wrong")
        url = bad.set(drivername="postgresql").render_as_string(hide_password=False)
        database = Database(url, tmp_path)
        with pytest.raises(SettingError):
            await database.open()
        await database.close()


@pytest.fixture
async def unused_port() -> int:
    """Give a port nobody listens on."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


class TestLocation:
    """The setting `database`."""

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("sqlite:", "sqlite:///data/headrace.sqlite"),
            ("sqlite:///some/file.db", "sqlite:///some/file.db"),
            ("sqlite:////some/file%20x.db", "sqlite:///some/file x.db"),
            ("postgresql://u:p@host:1234/name", "postgresql://host:1234/name"),
            ("postgresql://host/name?schema=mine&sslmode=require", "postgresql://host:5432/name"),
        ],
    )
    def test_an_allowed_url_names_a_place(self, url: str, shown: str) -> None:
        assert locate(url, Path("/data")).shown == shown

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "mysql://host/name",
            "sqlite:file",
            "sqlite://file",
            "sqlite:///",
            "postgresql://",
            "postgresql://host",
            "postgresql://host/",
            "postgresql://host/a/b",
            "postgresql://u:hidden@host:x/name",
            "postgresql://u:hidden@host/name?schema=A-b",
            "postgresql://u:hidden@host/name?sslmode=maybe",
            "postgresql://u:hidden@host/name?other=1",
        ],
    )
    def test_any_other_is_refused_with_what_is_allowed(self, url: str) -> None:
        with pytest.raises(SettingError, match="allowed: sqlite:, sqlite:///file") as caught:
            locate(url, Path("/data"))
        assert "hidden" not in str(caught.value)

    def test_escapes_in_user_and_password_are_undone(self) -> None:
        place = locate("postgresql://a%40b:p%2Fw@host/name", Path("/data")).url
        assert (place.username, place.password) == ("a@b", "p/w")
