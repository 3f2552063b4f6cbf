"""Writing into the SQLite index: one batch of documents, one transaction.

Lives in one thread and owns the one connection that writes. Guarantees that a batch is on disk when `put`
returns, that a document never replaces one of the same or a higher version, and that the derived tables
change in the same transaction as the documents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from pipeline.index.port import Document, Refused
from pipeline.index.query import Family
from pipeline.index.sqlite_derived import Content, Derived
from pipeline.index.sqlite_file import KEPT, connect, transaction
from pipeline.index.values import Unfit

T = TypeVar("T")
log = structlog.get_logger(__name__)

_IDS_PER_LOOKUP = 500


class _Stored(NamedTuple):
    doc: int
    version: int


class _Row(NamedTuple):
    """A document ready to be written. `doc` None: it is new."""

    document: Document
    body: bytes
    content: Content
    doc: int | None


class _Open(NamedTuple):
    connection: sqlite3.Connection
    derived: Derived


class Writer:
    """The one that writes a file. Not thread-safe: every call comes from the same thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _Open | None = None

    def open(self) -> None:
        """Open the file, create its tables, and remake what follows from the documents when it is due."""
        self._opened()

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        if self._file is not None:
            self._file.connection.close()
            self._file = None

    def put(self, accepted: Sequence[tuple[Document, bytes]]) -> list[Refused]:
        """Write documents with their encoded bodies; all that can be taken, in one transaction."""
        file = self._opened()
        try:
            with transaction(file.connection):
                file.derived.begin()
                rows, refused = _judge(file, accepted)
                _write(file, rows)
        except BaseException:  # whatever ended it, the transaction did not happen
            file.derived.forget()
            raise
        return refused

    def _opened(self) -> _Open:
        if self._file is not None:
            return self._file
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(self._path, writer=True)
        try:
            with transaction(connection):
                for create in KEPT:
                    connection.execute(create)
                derived = Derived(connection)
                if derived.remake():
                    log.warning(
                        "made the search tables anew", file=str(self._path), reason="other templates"
                    )
        except BaseException:  # a connection that is of no use must not stay open
            connection.close()
            raise
        self._file = _Open(connection, derived)
        return self._file


def _judge(file: _Open, accepted: Sequence[tuple[Document, bytes]]) -> tuple[list[_Row], list[Refused]]:
    """Find out what each document means for the index: nothing, a new row, a changed one, refusal."""
    stored = _stored(file.connection, accepted)
    rows: dict[tuple[Family, str], _Row] = {}
    refused: list[Refused] = []
    for document, body in accepted:
        key = (document.family, document.id)
        known = stored.get(key)
        earlier = rows.get(key)
        if known and known.version >= document.version:
            continue
        if earlier and earlier.document.version >= document.version:
            continue
        try:
            content = file.derived.content(document.family, document.body)
        except Unfit as error:
            refused.append(Refused(document.id, str(error)))
            continue
        rows[key] = _Row(document, body, content, known.doc if known else None)
    return list(rows.values()), refused


def _stored(
    connection: sqlite3.Connection, accepted: Sequence[tuple[Document, bytes]]
) -> dict[tuple[Family, str], _Stored]:
    """Return number and version of the documents that exist already."""
    found: dict[tuple[Family, str], _Stored] = {}
    for family in {document.family for document, _ in accepted}:
        ids = [document.id for document, _ in accepted if document.family == family]
        for some in _steps(ids, _IDS_PER_LOOKUP):
            marks = ", ".join("?" * len(some))
            rows = connection.execute(
                f"SELECT id, doc, version FROM documents WHERE family = ? AND id IN ({marks})",  # noqa: S608
                (family, *some),
            )
            found.update(((family, id_), _Stored(doc, version)) for id_, doc, version in rows)
    return found


def _write(file: _Open, rows: Sequence[_Row]) -> None:
    (last,) = file.connection.execute("SELECT coalesce(max(doc), 0) FROM documents").fetchone()
    new = list(enumerate((row for row in rows if row.doc is None), start=last + 1))
    file.connection.executemany(
        "INSERT INTO documents (doc, family, id, version, body) VALUES (?, ?, ?, ?, ?)",
        [(doc, row.document.family, row.document.id, row.document.version, row.body) for doc, row in new],
    )
    file.derived.add([(doc, row.content) for doc, row in new])
    _replace(file, [(row.doc, row) for row in rows if row.doc is not None])


def _replace(file: _Open, rows: Sequence[tuple[int, _Row]]) -> None:
    changes = []
    for doc, row in rows:
        (old,) = file.connection.execute("SELECT body FROM documents WHERE doc = ?", (doc,)).fetchone()
        changes.append((doc, file.derived.stored_content(row.document.family, old), row.content))
    file.derived.change(changes)
    file.connection.executemany(
        "UPDATE documents SET version = ?, body = ? WHERE doc = ?",
        [(row.document.version, row.body, doc) for doc, row in rows],
    )


def _steps(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
