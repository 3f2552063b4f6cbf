"""From a checked query tree to SQL over the tables of `pipeline.index.sqlite_file`.

Guarantees that nothing of a query becomes part of the SQL text: names and values are bound, words consist
of letters and digits only. A condition is a truth value about ``d.doc``; each leaf is a set of documents
read from one stretch of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.index.query import And, Condition, Exists, Not, Or, Prefix, Range, Term, Text
from pipeline.index.schema import Schema
from pipeline.index.sql_values import SqlValue, sql_value

FIELD: Final = "field = (SELECT number FROM fields WHERE name = ?)"
_BOUND_SIGNS: Final = (("at_least", ">="), ("above", ">"), ("at_most", "<="), ("below", "<"))
_SURROGATES_FIRST: Final = 0xD800
_SURROGATES_LAST: Final = 0xDFFF
_CHARACTER_LAST: Final = 0x10FFFF


class Sql(msgspec.Struct, frozen=True):
    """A piece of SQL and the parameters of its question marks."""

    text: str
    parameters: tuple[SqlValue | None, ...] = ()


ALWAYS: Final = Sql("1")


def where(condition: Condition, schema: Schema, *, probing: bool = False) -> Sql:
    """Compile a checked condition about ``documents d``, including that they are of the family.

    With `probing` the condition is asked of documents that come in an order of their own, few of which are
    looked at: a term is looked up for each instead of fetching all that have it.
    """
    inner = _condition(condition, schema, probing=probing)
    # The plus keeps the planner from reading a whole family where a set of documents is named.
    family = "+d.family" if _names_a_set(condition) and not probing else "d.family"
    return Sql(f"{family} = ? AND {inner.text}", (schema.family, *inner.parameters))


def holders(condition: Condition, schema: Schema) -> Sql:
    """Compile the numbers of the documents a checked condition holds for, each once.

    Where the condition begins with a set of values, ``documents`` is not touched: a field is of one family.
    """
    match condition:
        case Term() | Prefix() | Range() | Exists():
            once = "" if isinstance(condition, Term) and len(condition.values) == 1 else "DISTINCT "
            inner = _values(condition, schema)
            return Sql(f"SELECT {once}doc FROM terms WHERE {inner.text}", inner.parameters)  # noqa: S608
        case And(parts) if parts:
            first, *rest = sorted(parts, key=_likely_size)
            if isinstance(first, Term | Prefix | Range | Exists):
                inner = holders(first, schema)
                others = _joined(rest, " AND ", "1", schema)
                text = f"SELECT d.doc FROM ({inner.text}) d WHERE {others.text}"  # noqa: S608
                return Sql(text, inner.parameters + others.parameters)
    inner = where(condition, schema)
    return Sql(f"SELECT d.doc FROM documents d WHERE {inner.text}", inner.parameters)  # noqa: S608


def _names_a_set(condition: Condition) -> bool:
    match condition:
        case And(parts):
            return any(_names_a_set(part) for part in parts)
        case Or(parts):
            return all(_names_a_set(part) for part in parts)
        case Not():
            return False
        case _:
            return True


def field_name(schema: Schema, path: str) -> str:
    """Return the name of a field in the table ``fields``."""
    return f"{schema.family}.{path}"


def _condition(condition: Condition, schema: Schema, *, probing: bool = False) -> Sql:
    match condition:
        case And(parts):
            # SQLite begins with the first set it is told of, so the one that is likely small comes first.
            return _joined(sorted(parts, key=_likely_size), " AND ", "1", schema, probing=probing)
        case Or(parts):
            return _joined(parts, " OR ", "0", schema, probing=probing)
        case Not(part):
            inner = _condition(part, schema, probing=probing)
            return Sql(f"NOT {inner.text}", inner.parameters)
        case Text(words):
            phrase = " ".join(f'"{word}"' for word in words.split())
            return Sql("d.doc IN (SELECT rowid FROM words WHERE words MATCH ?)", (phrase,))
        case _:
            inner = _values(condition, schema)
            if probing and isinstance(condition, Term):
                text = f"EXISTS (SELECT 1 FROM terms WHERE {inner.text} AND doc = d.doc)"  # noqa: S608
            else:
                text = f"d.doc IN (SELECT doc FROM terms WHERE {inner.text})"  # noqa: S608
            return Sql(text, inner.parameters)


def _likely_size(condition: Condition) -> int:
    """Rank conditions by how many documents they usually hold for."""
    kinds = (Text, Term, Prefix, Range, And, Or, Exists, Not)
    return next(rank for rank, kind in enumerate(kinds) if isinstance(condition, kind))


def _joined(
    parts: Sequence[Condition], word: str, empty: str, schema: Schema, *, probing: bool = False
) -> Sql:
    if not parts:
        return Sql(empty)
    inner = [_condition(part, schema, probing=probing) for part in parts]
    text = word.join(part.text for part in inner)
    return Sql(f"({text})", tuple(each for part in inner for each in part.parameters))


def _values(condition: Term | Prefix | Range | Exists, schema: Schema) -> Sql:
    """Compile the stretch of ``terms`` with the values a leaf asks for."""
    inner = _bounds(condition, schema)
    return Sql(FIELD + inner.text, (field_name(schema, condition.field), *inner.parameters))


def _bounds(condition: Term | Prefix | Range | Exists, schema: Schema) -> Sql:
    kind = schema.field(condition.field).kind
    match condition:
        case Term(_, values):
            marks = ", ".join("?" * len(values))
            return Sql(f" AND value IN ({marks})", tuple(sql_value(kind, value) for value in values))
        case Prefix(_, start):
            after = _after(start)
            if after is None:
                return Sql(" AND value >= ?", (start,))
            return Sql(" AND value >= ? AND value < ?", (start, after))
        case Range():
            bounds = [
                (f" AND value {sign} ?", sql_value(kind, value))
                for name, sign in _BOUND_SIGNS
                if (value := getattr(condition, name)) is not None
            ]
            return Sql("".join(text for text, _ in bounds), tuple(value for _, value in bounds))
        case Exists():
            return Sql("")


def _after(start: str) -> str | None:
    """Return the first text, in UTF-8 order, behind all that start so; None when there is none."""
    while start:
        last = ord(start[-1])
        if last < _CHARACTER_LAST:
            following = last + 1
            if _SURROGATES_FIRST <= following <= _SURROGATES_LAST:
                following = _SURROGATES_LAST + 1
            return start[:-1] + chr(following)
        start = start[:-1]
    return None
