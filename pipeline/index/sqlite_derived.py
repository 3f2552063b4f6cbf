"""What follows from the documents in the SQLite index: ``fields``, ``terms`` and ``words``.

Guarantees that the three agree with ``documents`` as long as every change of one is made in the transaction
of the other, and that they can always be made anew from it. Used by the writer's thread only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from pipeline import limits
from pipeline.index.leaves import Walker
from pipeline.index.query import Family
from pipeline.index.schema import FAMILIES, Field, schema_of
from pipeline.index.sql_values import SqlValue
from pipeline.index.sqlite_file import DERIVED, fingerprint
from pipeline.index.values import Unfit
from pipeline.index.words import words_of

_DOCUMENTS_PER_STEP: Final = 500
_TERMS_PER_STATEMENT: Final = 500

_Term = tuple[int, SqlValue, int]


class Content(NamedTuple):
    """What a document has to search for: pairs of field number and value, and its words."""

    terms: set[tuple[int, SqlValue]]
    words: str


NOTHING: Final = Content(set(), "")


class Derived:
    """The derived tables of one open file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._walkers: dict[Family, Walker] = {}
        self._many: set[int] = set()
        self._made_for = -1

    def forget(self) -> None:
        """Forget field numbers: those given in a transaction that was rolled back do not exist."""
        self._walkers = {}

    def begin(self) -> None:
        """Learn the field numbers unless they are known; call it first in every transaction."""
        # The number changes when another process makes the tables anew, with other field numbers.
        (schema_version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        if self._walkers and schema_version == self._made_for:
            return
        rows = self._connection.execute("SELECT name, number, many FROM fields").fetchall()
        numbers = {name: number for name, number, _ in rows}
        self._many = {number for _, number, many in rows if many}
        self._walkers = {family: self._walker(family, numbers) for family in FAMILIES}
        self._made_for = schema_version

    def content(self, family: Family, body: Mapping[str, Any]) -> Content:
        """Find what is searchable in a body.

        Raises:
            Unfit: The body has an unknown field, or a value of the wrong type.
        """
        terms, texts = self._walkers[family].walk(body)
        return Content(terms, " ".join(words_of(texts)))

    def stored_content(self, family: Family, body: bytes) -> Content:
        """Return what was stored for a stored body; one that no longer fits its schema has nothing."""
        try:
            return self.content(family, orjson.loads(body))
        except Unfit:
            return NOTHING

    def add(self, contents: Sequence[tuple[int, Content]]) -> None:
        """Store what documents have that had nothing so far."""
        self._note_many(content for _, content in contents)
        self._add_terms(
            [(field, value, doc) for doc, content in contents for field, value in content.terms]
        )
        self._add_words([(doc, content.words) for doc, content in contents if content.words])

    def change(self, changes: Sequence[tuple[int, Content, Content]]) -> None:
        """Replace what documents had by what they have; only differences are touched."""
        self._note_many(new for _, _, new in changes)
        self._connection.executemany(
            "DELETE FROM terms WHERE field = ? AND value = ? AND doc = ?",
            [(field, value, doc) for doc, old, new in changes for field, value in old.terms - new.terms],
        )
        self._add_terms(
            [(field, value, doc) for doc, old, new in changes for field, value in new.terms - old.terms]
        )
        changed = [(doc, old.words, new.words) for doc, old, new in changes if old.words != new.words]
        # The table keeps no text: it must be told exactly what to forget, and nothing it never had.
        self._connection.executemany(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
            [(doc, old) for doc, old, _ in changed if old],
        )
        self._add_words([(doc, new) for doc, _, new in changed if new])

    def remake(self) -> bool:
        """Make the tables anew when they were made in another way than this code does; tells whether so."""
        row = self._connection.execute("SELECT value FROM about WHERE name = 'fingerprint'").fetchone()
        if row == (fingerprint(),):
            return False
        for table, create in DERIVED.items():
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")
            self._connection.execute(create)
        self.forget()
        self.begin()
        for some in self._all_documents():
            self.add([(doc, self.stored_content(family, body)) for doc, family, body in some])
        self._connection.execute("INSERT OR REPLACE INTO about VALUES ('fingerprint', ?)", (fingerprint(),))
        return row is not None

    def _all_documents(self) -> Iterator[list[Any]]:
        last = 0
        while True:
            rows = self._connection.execute(
                "SELECT doc, family, body FROM documents WHERE doc > ? ORDER BY doc LIMIT ?",
                (last, _DOCUMENTS_PER_STEP),
            ).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    def _add_terms(self, terms: list[_Term]) -> None:
        # In key order neighbours share pages: the tree is touched once for each page, not for each value.
        # Values of one field are of one type, so they compare.
        terms.sort()
        # Many rows a statement: each statement lets go of the interpreter's lock and has to win it back.
        for at in range(0, len(terms), _TERMS_PER_STATEMENT):
            some = terms[at : at + _TERMS_PER_STATEMENT]
            rows = ", ".join(["(?, ?, ?)"] * len(some))
            values = [value for term in some for value in term]
            self._connection.execute(f"INSERT INTO terms (field, value, doc) VALUES {rows}", values)  # noqa: S608

    def _add_words(self, words: Sequence[tuple[int, str]]) -> None:
        self._connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", words)

    def _note_many(self, contents: Iterable[Content]) -> None:
        """Note the fields of which a document has several values: those cannot be walked in order."""
        found: set[int] = set()
        for content in contents:
            fields = [field for field, _ in content.terms]
            seen = set(fields)
            if len(seen) < len(fields):
                for field in fields:
                    if field in seen:
                        seen.discard(field)
                    else:
                        found.add(field)
        new = found - self._many
        self._connection.executemany(
            "UPDATE fields SET many = 1 WHERE number = ?", [(each,) for each in new]
        )
        self._many |= new

    def _walker(self, family: Family, numbers: dict[str, int]) -> Walker:
        connection = self._connection

        def number(field: Field) -> int:
            name = f"{family}.{field.path}"
            if name not in numbers:
                if len(numbers) >= limits.INDEX_FIELDS_MAX:
                    raise Unfit(f"the index has {len(numbers)} fields and takes no more: {field.path!r}")
                # Another process may have named it since; the write lock is ours, so this is the last word.
                connection.execute("INSERT INTO fields (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
                (numbers[name],) = connection.execute(
                    "SELECT number FROM fields WHERE name = ?", (name,)
                ).fetchone()
            return numbers[name]

        return Walker(schema_of(family), number)
