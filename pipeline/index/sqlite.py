"""The index in one SQLite file: the embedded default.

The standard library's driver in threads of ours, not aiosqlite: a batch is one hop to the writer's thread
instead of one for every statement, and readers work side by side on connections of their own, which see the
last commit and never wait for the writer. One process writes; others may read.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pipeline import limits, outside
from pipeline.errors import Unavailable
from pipeline.index import marks, sqlite_search
from pipeline.index.acceptance import accept
from pipeline.index.checks import check_group, check_query
from pipeline.index.port import Document, Page, Refused
from pipeline.index.query import Family, Group, Query
from pipeline.index.schema import schema_of
from pipeline.index.sqlite_file import connect, explained
from pipeline.index.sqlite_writer import Writer

T = TypeVar("T")


class SqliteIndex:
    """An index in a file. What was put is found at once; `refresh` has nothing to do.

    Args:
        path: The file; made, with its folder, when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = Writer(path)
        self._writing: ThreadPoolExecutor | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._readers: list[sqlite3.Connection] = []
        self._local = threading.local()

    async def open(self) -> None:
        """Open the file and make its tables.

        Raises:
            Unavailable: The file cannot be opened or is locked.
            Damaged: It is not an index.
        """
        if self._writing is None:
            self._writing = ThreadPoolExecutor(1, thread_name_prefix="index-write")
            self._reading = ThreadPoolExecutor(limits.INDEX_READERS, thread_name_prefix="index-read")
        await self._call("open", self._writing, self._writer.open)

    async def close(self) -> None:
        """Finish what runs and close the file; safe to repeat."""
        writing, reading = self._writing, self._reading
        if writing is None or reading is None:
            return
        self._writing = self._reading = None
        await asyncio.to_thread(reading.shutdown)
        await asyncio.wrap_future(writing.submit(self._writer.close))
        await asyncio.to_thread(writing.shutdown)
        while self._readers:
            self._readers.pop().close()
        self._local = threading.local()

    async def put(self, documents: Sequence[Document]) -> list[Refused]:
        """Write documents in one transaction; on disk when it returns."""

        def work() -> list[Refused]:
            accepted, refused = accept(documents)
            return refused + self._writer.put(accepted)

        return await self._call("put", self._writing, work) if documents else []

    async def get(self, family: Family, ids: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
        """Return the bodies of the documents that exist, by id."""
        wanted = [id_ for id_ in ids if _storable(id_)]
        return (
            await self._read("get", lambda reader: sqlite_search.get(reader, family, wanted))
            if wanted
            else {}
        )

    async def search(self, family: Family, query: Query) -> Page:
        """Return one page of hits.

        Raises:
            QueryError: The query makes no sense.
        """
        schema = schema_of(family)
        condition = check_query(query, schema)
        mark = marks.read_mark(family, query, condition)
        return await self._read(
            "search", lambda reader: sqlite_search.search(reader, schema, query, condition, mark)
        )

    async def group(self, family: Family, group: Group) -> list[tuple[str, int]]:
        """Return the values of a field with the number of documents that have each.

        Raises:
            QueryError: The field or the condition makes no sense.
        """
        schema = schema_of(family)
        condition = check_group(group, schema)
        return await self._read(
            "group", lambda reader: sqlite_search.group(reader, schema, group, condition)
        )

    async def refresh(self) -> None:
        """Do nothing: a search sees every finished `put`."""

    async def _read(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a search in a reading thread; one that nobody waits for any more is broken off."""
        lock = threading.Lock()
        running: list[sqlite3.Connection] = []

        def run() -> T:
            reader = self._reader()
            with lock:
                running.append(reader)
            try:
                return work(reader)
            finally:
                with lock:
                    running.clear()

        try:
            return await self._call(name, self._reading, run)
        except BaseException:  # time-out and cancellation alike; passed on at once
            with lock:
                for reader in running:
                    reader.interrupt()
            raise

    async def _call(self, name: str, pool: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
        if pool is None:
            raise Unavailable(f"{name} on the index", "it is not open")
        loop = asyncio.get_running_loop()

        def explain() -> T:
            with explained(f"{name} documents", self.path):
                return work()

        # One try: SQLite itself waits for a lock. A batch that takes too long goes on in its thread and is
        # committed or not; putting it again is harmless either way.
        return await outside.call(
            "index",
            name,
            lambda: loop.run_in_executor(pool, explain),
            timeout_seconds=limits.INDEX_CALL_TIMEOUT_SECONDS,
            attempts=1,
        )

    def _reader(self) -> sqlite3.Connection:
        """Return the connection of this reading thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self.path)
            self._readers.append(connection)
        return connection


def _storable(text: str) -> bool:
    """Tell whether a text can be an id at all: lone surrogates cannot be asked for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
