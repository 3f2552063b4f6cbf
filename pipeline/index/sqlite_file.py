"""The file of the SQLite index: its tables, how it is opened, and what its errors mean.

- ``documents``: the bodies, one row a document, numbered in the order of their arrival;
- ``terms``: every searchable value with the document that has it, sorted by field and value;
- ``words``: full-text search (FTS5), keeping only which document has which word;
- ``fields``: the number of each field, so that ``terms`` repeats a few bits instead of a name; `many` says
  that some document has several values of it.

The last three follow from ``documents``. When the templates or the way of finding values change, they are
made anew at the next open.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from pipeline import limits
from pipeline.errors import Damaged, StorageFull, Unavailable
from pipeline.index.schema import FAMILIES

LAYOUT: Final = 2
"""Raise when derived tables, or the way values and words are found, change."""
_CACHE_KIB: Final = 32 * limits.KIB
_CHECKPOINT_PAGES: Final = 4096

KEPT: Final = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS documents (
        doc INTEGER PRIMARY KEY, family TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX IF NOT EXISTS documents_by_id ON documents (family, id)",
)
"""The documents themselves."""
DERIVED: Final = {
    "fields": """CREATE TABLE fields (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, many INTEGER NOT NULL DEFAULT 0
    )""",
    "terms": """CREATE TABLE terms (
        field INTEGER NOT NULL, value NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY (field, value, doc)
    ) WITHOUT ROWID""",
    "words": """CREATE VIRTUAL TABLE words USING fts5(
        text, content='', detail=none, columnsize=0, tokenize='ascii'
    )""",
}
"""What follows from the documents, by table name."""


def connect(path: Path, *, writer: bool = False) -> sqlite3.Connection:
    """Open a connection; a reader's cannot change anything.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=limits.INDEX_CALL_TIMEOUT_SECONDS / 2, isolation_level=None, check_same_thread=False
    )
    # WAL: readers never wait for the writer. FULL: a commit is on disk when it returns, power cut or not.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    if not writer:
        connection.execute("PRAGMA query_only = ON")
    return connection


def fingerprint() -> str:
    """Return what tells this way of filling ``terms`` and ``words`` from others."""
    digest = hashlib.sha256(f"{LAYOUT}".encode())
    for family in FAMILIES:
        digest.update(resources.files("conf").joinpath("opensearch", f"{family}.json").read_bytes())
    return digest.hexdigest()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock for a block: all of it is committed, or none.

    A crash before COMMIT returns leaves the file as it was before the block.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever ended the block, the lock must not outlive it
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(tried: str, path: Path) -> Iterator[None]:
    """Turn what SQLite raises into our errors.

    Raises:
        StorageFull: The disk is full.
        Unavailable: The file is locked, or cannot be opened, read or written now.
        Damaged: The file is no index, or broken.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        where = f"{tried} in {path}"
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(where, str(error), "free some space") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Damaged(where, str(error), "remove the file and index the events again") from error
        if code in _PASSING:
            raise Unavailable(where, str(error), "see that the file can be read and written") from error
        raise
    except OSError as error:
        kind = StorageFull if error.errno == errno.ENOSPC else Unavailable
        raise kind(
            f"{tried} in {path}", error.strerror or str(error), "see that the folder can be written"
        ) from error


_PASSING: Final = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
    )
)
