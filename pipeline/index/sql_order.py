"""Orders of hits in SQL, and what lies behind a page mark in them.

Ties are broken by id, documents without a value come last. As in `pipeline.index.sql`, names and values are
bound and never part of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.index.query import Sort
from pipeline.index.schema import Schema
from pipeline.index.sql import FIELD, Sql, field_name
from pipeline.index.sql_values import SqlValue


def order(sorts: Sequence[Sort], schema: Schema, holders: Sql) -> tuple[Sql, str, str]:
    """Compile an order of the documents in a set.

    Returns the joins that fetch the values to sort by, the columns that hold them, and the ORDER BY list.
    Many values of one field count by their smallest, or largest when descending.
    """
    joins, columns, terms = "", "", []
    parameters: list[SqlValue | None] = []
    for at, sort in enumerate(sorts):
        pick = "MAX" if sort.descending else "MIN"
        chosen = (
            f"SELECT doc, {pick}(value) AS value FROM terms"  # noqa: S608 - values are bound
            f" WHERE {FIELD} AND doc IN ({holders.text}) GROUP BY doc"
        )
        joins += f" LEFT JOIN ({chosen}) s{at} ON s{at}.doc = d.doc"
        parameters += [field_name(schema, sort.field), *holders.parameters]
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
