"""The database as the rest of Headrace sees it: open it, read from it, write to it in one transaction.

`Database` works the same on SQLite (one file, any number of processes) and PostgreSQL. What is written
is durable when `write` returns: SQLite runs in WAL mode with `synchronous = FULL`, PostgreSQL with what
its administrator set. Every call has a time limit, a bounded number of tries and a metric
(`pipeline.outside.call`), and fails with our own errors only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pipeline import limits
from pipeline.database import failures, versions
from pipeline.database.location import Location, locate
from pipeline.errors import Unavailable
from pipeline.outside import call

if TYPE_CHECKING:
    from pipeline.database.migrate import Steps

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_LOCK_OPTION = "headrace_begin"


class Database:
    """A database by its URL; nothing is opened or connected before `open`.

    Args:
        url: ``sqlite:``, ``sqlite:///file`` or ``postgresql://user:password@host:port/database``.
        data_folder: Where ``sqlite:`` keeps its file.
        attempts: Tries of one call before its error is passed on.
        timeout_seconds: Longest time one try may take.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """

    def __init__(
        self,
        url: str,
        data_folder: Path,
        *,
        attempts: int = limits.CALL_ATTEMPTS,
        timeout_seconds: float = limits.DATABASE_CALL_TIMEOUT_SECONDS,
    ) -> None:
        self._location = locate(url, data_folder)
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._engine: AsyncEngine | None = None
        # SQLite has one writer at a time; queueing here is fair and does not poll as its file lock does.
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which of the two it is; for the few statements that must differ."""
        return self._location.kind

    async def open(self, *, migrate: bool = True) -> None:
        """Connect, making the SQLite file when there is none, and bring the tables up to date.

        Repeating it is harmless. With `migrate` false the tables stay as they are.

        Raises:
            SettingError: User, password or database name is refused.
            Unavailable: The server does not answer or the file cannot be used.
        """
        if self._location.path is not None:
            await _make_folder(self._location.path.parent)
        if self._engine is None:
            self._engine = _engine(self._location)
        await self.ping()
        if migrate:
            await self.migrate()

    async def close(self) -> None:
        """Let go of every connection; safe to repeat."""
        engine, self._engine = self._engine, None
        if self._under_way:
            await asyncio.wait(self._under_way)
        if engine is not None:
            await engine.dispose()

    async def ping(self) -> None:
        """Return when the database answers.

        Raises:
            Unavailable: It does not.
        """
        await self.read("ping", lambda connection: connection.execute(text("SELECT 1")))

    async def version(self) -> str | None:
        """Tell which migration the tables are at; None when they are none of ours. Raises as `read`."""
        schema = self._location.schema
        return await self.read(
            "look for migrations", lambda connection: connection.run_sync(versions.current, schema)
        )

    async def migrate(self) -> None:
        """Bring the tables up to date: from nothing, from upstream's archive, or from an older release.

        All or nothing, one process at a time, and nothing at all when they are up to date.

        Raises:
            Conflict: The database holds tables of these names that are no archive's.
            Unavailable: As `read`.
        """
        schema = self._location.schema
        newest = await asyncio.to_thread(versions.newest)
        if await self.read(
            "look for migrations",
            lambda connection: connection.run_sync(versions.is_current, newest, schema),
        ):
            return
        steps = await asyncio.to_thread(_migrations)
        await self._run(
            "migrate",
            lambda connection: connection.run_sync(steps.apply, schema),
            begin="EXCLUSIVE",
            timeout_seconds=limits.DATABASE_MIGRATE_TIMEOUT_SECONDS,
        )

    async def read(self, name: str, work: Work[T]) -> T:
        """Run `work` in a transaction that sees one state of the database, and return its result.

        `name` is the call's name in metrics and errors. `work` runs again when a try fails.

        Raises:
            Unavailable: No answer in time, or the connection was lost; the same call may work later.
        """
        return await self._run(name, work, begin="DEFERRED")

    async def write(self, name: str, work: Work[T]) -> T:
        """Run `work` in one transaction; all of it is durable when this returns, or nothing happened.

        When the connection is lost while committing, nobody can tell whether it was committed: `work`
        runs again, so doing it twice must change nothing.

        Raises:
            Unavailable: As `read`. StorageFull: No room; nothing was written.
            BadInput: A value does not fit its column.
        """
        return await self._run(name, work, begin="IMMEDIATE")

    async def _run(
        self,
        name: str,
        work: Work[T],
        *,
        begin: Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"],
        timeout_seconds: float | None = None,
    ) -> T:
        tried = f"{name} on the database {self._location.shown}"
        engine = self._engine
        if engine is None:
            raise RuntimeError(f"{tried}: open it first")

        async def attempt() -> T:
            try:
                if self.kind == "postgresql":
                    return await _transaction(engine, work, begin)
                return await self._to_its_end(engine, work, begin)
            except TimeoutError:
                raise  # the time limit for connecting; the call tells of it as of its own
            except failures.FAILURES as error:
                meant = failures.translate(tried, error)
                if meant is None:
                    raise
                raise meant from error

        return await call(
            "database",
            name,
            attempt,
            timeout_seconds=timeout_seconds or self._timeout_seconds,
            attempts=self._attempts,
        )

    async def _to_its_end(self, engine: AsyncEngine, work: Work[T], begin: str) -> T:
        """Run a transaction on SQLite that ends by itself even when its caller is cancelled.

        A statement given to SQLite's thread cannot be taken back. A caller that left in the middle of a
        SELECT would leave the lock on the file behind: SQLite keeps a closed connection alive, with its
        transaction, until the last statement of it is gone.
        """

        async def run() -> T:
            if begin == "DEFERRED":
                return await _transaction(engine, work, begin)
            async with self._turn:
                return await _transaction(engine, work, begin)

        task = asyncio.create_task(run())
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Looked at, so that nothing is said of a failure whose caller has gone.
            task.exception()


def _migrations() -> Steps:
    from pipeline.database import migrate

    return migrate.load()


async def _make_folder(folder: Path) -> None:
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        tried = f"make the folder {folder} for the database"
        raise Unavailable(tried, str(error), "name another file, or make its folder writable") from error


async def _transaction(engine: AsyncEngine, work: Work[T], begin: str) -> T:
    async with engine.connect() as connection:
        options: dict[str, Any] = {_LOCK_OPTION: begin}
        if begin == "DEFERRED" and connection.dialect.name == "postgresql":
            # By default each statement would see what others committed just before it.
            options["isolation_level"] = "REPEATABLE READ"
        await connection.execution_options(**options)
        async with connection.begin():
            return await work(connection)


def _engine(location: Location) -> AsyncEngine:
    pool: dict[str, Any] = {
        "pool_size": limits.DATABASE_CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": limits.DATABASE_CALL_TIMEOUT_SECONDS,
    }
    if location.kind == "sqlite":
        engine = create_async_engine(
            location.url, connect_args={"timeout": limits.DATABASE_BUSY_TIMEOUT_SECONDS}, **pool
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    # Plans are made for the values at hand: an archive grows from nothing to millions of rows within the
    # life of a connection, and a plan kept from its first minute would read the whole table for ever.
    server = {"jit": "off", "plan_cache_mode": "force_custom_plan", "application_name": "headrace"}
    if location.schema is not None:
        server["search_path"] = location.schema
    arguments: dict[str, Any] = {
        "timeout": limits.DATABASE_CONNECT_TIMEOUT_SECONDS,
        "server_settings": server,
    }
    if location.sslmode is not None:
        arguments["ssl"] = location.sslmode
    return create_async_engine(location.url, connect_args=arguments, **pool)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    del record
    # The driver would begin transactions by itself, and only before some statements; ours begin in
    # _begin_sqlite, so that a writer takes its lock before it reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    mode = connection.get_execution_options().get(_LOCK_OPTION, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
