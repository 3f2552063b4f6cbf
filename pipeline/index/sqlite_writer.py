"""Writing into the SQLite index: one batch of documents, one transaction.

Lives in one thread and owns the one connection that writes. Guarantees that a batch is on disk when `put`
returns, that a document never replaces one of the same or a higher version, and that ``terms`` and
``words`` always agree with ``documents``: all three change in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
import structlog

from pipeline import limits
from pipeline.index.leaves import Walker
from pipeline.index.port import Document, Refused
from pipeline.index.query import Family
from pipeline.index.schema import FAMILIES, Field, schema_of
from pipeline.index.sql_values import SqlValue
from pipeline.index.sqlite_file import TABLES, connect, fingerprint, transaction
from pipeline.index.values import Unfit
from pipeline.index.words import words_of

T = TypeVar("T")
log = structlog.get_logger(__name__)

_IDS_PER_LOOKUP = 500
_DOCUMENTS_PER_STEP = 500

Terms = set[tuple[int, SqlValue]]


class _Stored(NamedTuple):
    doc: int
    version: int


class _Row(NamedTuple):
    """A document ready to be written. `doc` None: it is new."""

    document: Document
    body: bytes
    terms: Terms
    words: str
    doc: int | None


class Writer:
    """The one that writes a file. Not thread-safe: every call comes from the same thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._walkers: dict[Family, Walker] = {}

    def open(self) -> None:
        """Open the file, create its tables, and remake what follows from the documents when it is due."""
        if self._connection is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(self._path, writer=True)
        try:
            with transaction(connection):
                for statement in TABLES.split(";"):
                    connection.execute(statement)
                self._connection = connection
                self._make_walkers()
                self._remake()
        except BaseException:  # a connection that is of no use must not stay open
            self.close()
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def put(self, accepted: Sequence[tuple[Document, bytes]]) -> list[Refused]:
        """Write documents with their encoded bodies; all that can be taken, in one transaction."""
        try:
            with transaction(self._open_connection):
                rows, refused = self._judge(accepted)
                self._write(rows)
        except BaseException:  # field numbers given in a transaction that did not happen do not exist
            self._walkers = {}
            raise
        return refused

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self.open()
        assert self._connection is not None  # noqa: S101 - open either sets it or raises
        return self._connection

    def _judge(self, accepted: Sequence[tuple[Document, bytes]]) -> tuple[list[_Row], list[Refused]]:
        """Find out what each document means for the index: nothing, a new row, a changed one, refusal."""
        if not self._walkers:
            self._make_walkers()
        stored = self._stored(accepted)
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
                terms, texts = self._walkers[document.family].walk(document.body)
            except Unfit as error:
                refused.append(Refused(document.id, str(error)))
                continue
            rows[key] = _Row(document, body, terms, " ".join(words_of(texts)), known.doc if known else None)
        return list(rows.values()), refused

    def _stored(self, accepted: Sequence[tuple[Document, bytes]]) -> dict[tuple[Family, str], _Stored]:
        found: dict[tuple[Family, str], _Stored] = {}
        for family in {document.family for document, _ in accepted}:
            ids = [document.id for document, _ in accepted if document.family == family]
            for some in _steps(ids, _IDS_PER_LOOKUP):
                marks = ", ".join("?" * len(some))
                rows = self._open_connection.execute(
                    f"SELECT id, doc, version FROM documents WHERE family = ? AND id IN ({marks})",  # noqa: S608
                    (family, *some),
                )
                found.update(((family, id_), _Stored(doc, version)) for id_, doc, version in rows)
        return found

    def _write(self, rows: Sequence[_Row]) -> None:
        connection = self._open_connection
        (last,) = connection.execute("SELECT coalesce(max(doc), 0) FROM documents").fetchone()
        new = [row for row in rows if row.doc is None]
        numbered = list(enumerate(new, start=last + 1))
        connection.executemany(
            "INSERT INTO documents (doc, family, id, version, body) VALUES (?, ?, ?, ?, ?)",
            [
                (doc, row.document.family, row.document.id, row.document.version, row.body)
                for doc, row in numbered
            ],
        )
        self._add_terms([(field, value, doc) for doc, row in numbered for field, value in row.terms])
        self._add_words([(doc, row.words) for doc, row in numbered if row.words])
        self._replace([(row.doc, row) for row in rows if row.doc is not None])

    def _replace(self, rows: Sequence[tuple[int, _Row]]) -> None:
        """Change documents that exist: only values and words that differ are touched."""
        connection = self._open_connection
        added: list[tuple[int, SqlValue, int]] = []
        removed: list[tuple[int, SqlValue, int]] = []
        for doc, row in rows:
            (old_body,) = connection.execute("SELECT body FROM documents WHERE doc = ?", (doc,)).fetchone()
            old_terms, old_words = self._walked(row.document.family, old_body)
            added += [(field, value, doc) for field, value in row.terms - old_terms]
            removed += [(field, value, doc) for field, value in old_terms - row.terms]
            if old_words != row.words:
                self._replace_words(doc, old_words, row.words)
            connection.execute(
                "UPDATE documents SET version = ?, body = ? WHERE doc = ?",
                (row.document.version, row.body, doc),
            )
        connection.executemany("DELETE FROM terms WHERE field = ? AND value = ? AND doc = ?", removed)
        self._add_terms(added)

    def _replace_words(self, doc: int, old: str, new: str) -> None:
        # The table keeps no text: it must be told exactly what to forget, and nothing it never had.
        if old:
            self._open_connection.execute(
                "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (doc, old)
            )
        if new:
            self._add_words([(doc, new)])

    def _walked(self, family: Family, body: bytes) -> tuple[Terms, str]:
        """Return what was stored for a body; a body no longer fitting its schema has nothing."""
        try:
            terms, texts = self._walkers[family].walk(orjson.loads(body))
        except Unfit:
            return set(), ""
        return terms, " ".join(words_of(texts))

    def _add_terms(self, terms: list[tuple[int, SqlValue, int]]) -> None:
        # In key order neighbours share pages: the tree is touched once for each page, not for each value.
        # Values of one field are of one type, so they compare.
        terms.sort()
        self._open_connection.executemany("INSERT INTO terms (field, value, doc) VALUES (?, ?, ?)", terms)

    def _add_words(self, words: Sequence[tuple[int, str]]) -> None:
        self._open_connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", words)

    def _make_walkers(self) -> None:
        numbers: dict[str, int] = dict(self._open_connection.execute("SELECT name, number FROM fields"))
        self._walkers = {family: self._walker(family, numbers) for family in FAMILIES}

    def _walker(self, family: Family, numbers: dict[str, int]) -> Walker:
        def number(field: Field) -> int:
            name = f"{family}.{field.path}"
            if name not in numbers:
                if len(numbers) >= limits.INDEX_FIELDS_MAX:
                    raise Unfit(f"the index has {len(numbers)} fields and takes no more: {field.path!r}")
                # Another process may have named it since; the write lock is ours, so this is the last word.
                connection = self._open_connection
                connection.execute("INSERT INTO fields (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
                (numbers[name],) = connection.execute(
                    "SELECT number FROM fields WHERE name = ?", (name,)
                ).fetchone()
            return numbers[name]

        return Walker(schema_of(family), number)

    def _remake(self) -> None:
        """Fill ``terms`` and ``words`` anew when they were filled in another way than this code does."""
        connection = self._open_connection
        row = connection.execute("SELECT value FROM about WHERE name = 'fingerprint'").fetchone()
        if row == (fingerprint(),):
            return
        if row is not None:
            log.warning("remaking the search tables", file=str(self._path), reason="templates changed")
        connection.execute("DELETE FROM terms")
        connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
        for some in self._all_documents():
            walked = [(doc, *self._walked(family, body)) for doc, family, body in some]
            self._add_terms([(field, value, doc) for doc, terms, _ in walked for field, value in terms])
            self._add_words([(doc, words) for doc, _, words in walked if words])
        connection.execute("INSERT OR REPLACE INTO about VALUES ('fingerprint', ?)", (fingerprint(),))

    def _all_documents(self) -> Iterator[list[Any]]:
        last = 0
        while True:
            rows = self._open_connection.execute(
                "SELECT doc, family, body FROM documents WHERE doc > ? ORDER BY doc LIMIT ?",
                (last, _DOCUMENTS_PER_STEP),
            ).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]


def _steps(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
