"""From a checked query tree to SQL over the tables of `pipeline.index.sqlite_file`.

Guarantees that nothing of a query becomes part of the SQL text: names and values are bound, words consist
of letters and digits only. A condition is a truth value about ``d.doc``; each leaf is a set of documents
read from one stretch of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.index.query import And, Condition, Exists, Not, Or, Prefix, Range, Sort, Term, Text
from pipeline.index.schema import Schema
from pipeline.index.sql_values import SqlValue, sql_value

FIELD: Final = "field = (SELECT number FROM fields WHERE name = ?)"
_BOUNDS: Final = (("at_least", ">="), ("above", ">"), ("at_most", "<="), ("below", "<"))
_SURROGATES_FIRST: Final = 0xD800
_SURROGATES_LAST: Final = 0xDFFF
_CHARACTER_LAST: Final = 0x10FFFF


class Sql(msgspec.Struct, frozen=True):
    """A piece of SQL and the parameters of its question marks."""

    text: str
    parameters: tuple[SqlValue | None, ...] = ()


ALWAYS: Final = Sql("1")


def where(condition: Condition, schema: Schema) -> Sql:
    """Compile a checked condition, including that documents are of the family."""
    inner = _condition(condition, schema)
    # The plus keeps the planner from reading a whole family where a set of documents is named.
    family = "+d.family" if _names_a_set(condition) else "d.family"
    return Sql(f"{family} = ? AND {inner.text}", (schema.family, *inner.parameters))


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


def order(sorts: Sequence[Sort], schema: Schema) -> tuple[Sql, str, str]:
    """Compile an order.

    Returns the joins that fetch the values to sort by, the columns that hold them, and the ORDER BY list.
    Many values of one field count by their smallest, or largest when descending.
    """
    joins, parameters, columns, terms = "", [], "", []
    for at, sort in enumerate(sorts):
        pick = "MAX" if sort.descending else "MIN"
        chosen = f"SELECT doc, {pick}(value) AS value FROM terms WHERE {FIELD} GROUP BY doc"  # noqa: S608
        joins += f" LEFT JOIN ({chosen}) s{at} ON s{at}.doc = d.doc"
        parameters.append(field_name(schema, sort.field))
        columns += f", s{at}.value"
        terms.append(f"s{at}.value IS NULL, s{at}.value {way(sort)}")
    return Sql(joins, tuple(parameters)), columns, ", ".join([*terms, "d.id"])


def beyond(sorts: Sequence[Sort], mark: Sequence[SqlValue | None]) -> Sql:
    """Compile what lies behind a document with these sort values, the last of them its id."""
    text, parameters = "d.id > ?", [mark[-1]]
    for at in range(len(sorts) - 1, -1, -1):
        column, value = f"s{at}.value", mark[at]
        if value is None:
            text = f"({column} IS NULL AND {text})"
            continue
        sign = "<" if sorts[at].descending else ">"
        text = f"({column} {sign} ? OR {column} IS NULL OR ({column} = ? AND {text}))"
        parameters = [value, value, *parameters]
    return Sql(text, tuple(parameters))


def further(sort: Sort, mark: Sequence[SqlValue | None]) -> Sql:
    """Compile what lies behind a document on a walk over ``terms t``; it has a value of the field."""
    sign = "<" if sort.descending else ">"
    value, last = mark
    # The first bound is where the walk begins, the second passes over those of the same value.
    return Sql(f"t.value {sign}= ? AND (t.value {sign} ? OR d.id > ?)", (value, value, last))


def way(sort: Sort) -> str:
    """Return the direction of an order."""
    return "DESC" if sort.descending else "ASC"


def field_name(schema: Schema, path: str) -> str:
    """Return the name of a field in the table ``fields``."""
    return f"{schema.family}.{path}"


def _condition(condition: Condition, schema: Schema) -> Sql:
    match condition:
        case And(parts):
            # SQLite begins with the first set it is told of, so the one that is likely small comes first.
            return _joined(sorted(parts, key=_likely_size), " AND ", "1", schema)
        case Or(parts):
            return _joined(parts, " OR ", "0", schema)
        case Not(part):
            inner = _condition(part, schema)
            return Sql(f"NOT {inner.text}", inner.parameters)
        case Text(words):
            phrase = " ".join(f'"{word}"' for word in words.split())
            return Sql("d.doc IN (SELECT rowid FROM words WHERE words MATCH ?)", (phrase,))
        case _:
            inner = _leaf(condition, schema)
            name = field_name(schema, condition.field)
            holders = f"SELECT doc FROM terms WHERE {FIELD}{inner.text}"  # noqa: S608 - made of constants
            return Sql(f"d.doc IN ({holders})", (name, *inner.parameters))


def _likely_size(condition: Condition) -> int:
    """Rank conditions by how many documents they usually hold for."""
    kinds = (Text, Term, Prefix, Range, And, Or, Exists, Not)
    return next(rank for rank, kind in enumerate(kinds) if isinstance(condition, kind))


def _joined(parts: Sequence[Condition], word: str, empty: str, schema: Schema) -> Sql:
    if not parts:
        return Sql(empty)
    inner = [_condition(part, schema) for part in parts]
    text = word.join(part.text for part in inner)
    return Sql(f"({text})", tuple(each for part in inner for each in part.parameters))


def _leaf(condition: Term | Prefix | Range | Exists, schema: Schema) -> Sql:
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
                for name, sign in _BOUNDS
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
