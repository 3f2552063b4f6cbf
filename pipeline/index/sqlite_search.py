"""Reading from the SQLite index: one function for each question, over a reader's connection.

A search counts in one statement and fetches its page in another, both of one moment. Without an order the
page comes from the index on ids. Ordered by one field of which every document has at most one value, and
when many match, it is walked off ``terms``, which are sorted already, and ends with the page. Otherwise all
that match are sorted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from pipeline.index import marks, sql, sql_order
from pipeline.index.port import Hit, Page
from pipeline.index.query import And, Condition, Family, Group, Query
from pipeline.index.schema import Schema
from pipeline.index.sql import Sql
from pipeline.index.sql_values import value_text

WALK_FROM_PAGES = 16
"""Walking passes over what does not match, so it pays when matches fill this many pages."""
_IDS_PER_LOOKUP = 500

Mark = Sequence[marks.Value] | None
Reader = sqlite3.Connection


def get(reader: Reader, family: Family, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the bodies of the documents that exist, by id."""
    found: dict[str, dict[str, Any]] = {}
    for at in range(0, len(ids), _IDS_PER_LOOKUP):
        some = ids[at : at + _IDS_PER_LOOKUP]
        places = ", ".join("?" * len(some))
        rows = reader.execute(
            f"SELECT id, body FROM documents WHERE family = ? AND id IN ({places})",  # noqa: S608
            (family, *some),
        )
        found.update((id_, orjson.loads(body)) for id_, body in rows)
    return found


def search(reader: Reader, schema: Schema, query: Query, condition: Condition, mark: Mark) -> Page:
    """Return one page of a checked query."""
    holders = sql.holders(condition, schema)
    # One transaction, so that the count and the page are of the same moment.
    reader.execute("BEGIN")
    try:
        (total,) = reader.execute(
            f"SELECT count(*) FROM ({holders.text})",  # noqa: S608 - values are bound
            holders.parameters,
        ).fetchone()
        rows = _rows(reader, schema, query, condition, mark, total=total)
    finally:
        reader.execute("COMMIT")
    hits = [Hit(row[-1], orjson.loads(row[0])) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return Page(hits, total, None)
    return Page(hits, total, marks.make_mark(schema.family, query, condition, rows[query.limit - 1][1:]))


def group(reader: Reader, schema: Schema, asked: Group, condition: Condition) -> list[tuple[str, int]]:
    """Return the values of a checked grouping with their counts."""
    holders = sql.holders(condition, schema)
    narrowed = f" AND doc IN ({holders.text})" if condition != And(()) else ""
    rows = reader.execute(
        f"SELECT value, count(*) AS n FROM terms WHERE {sql.FIELD}{narrowed}"  # noqa: S608 - values are bound
        " GROUP BY value ORDER BY n DESC, value LIMIT ?",
        (
            sql.field_name(schema, asked.field),
            *(holders.parameters if narrowed else ()),
            asked.limit,
        ),
    )
    kind = schema.field(asked.field).kind
    return [(value_text(kind, value), count) for value, count in rows]


def _rows(
    reader: Reader, schema: Schema, query: Query, condition: Condition, mark: Mark, *, total: int
) -> list[Any]:
    """Return body, sort values and id of one document more than the page holds, if there is one."""
    if total >= WALK_FROM_PAGES * query.limit and _has_single_sort(reader, schema, query):
        return _walked(reader, schema, query, sql.where(condition, schema, probing=True), mark)
    where = sql.where(condition, schema)
    joins, columns, order = sql_order.order(query.sort, schema, sql.holders(condition, schema))
    behind = sql_order.beyond(query.sort, mark) if mark else sql.ALWAYS
    return reader.execute(
        f"SELECT d.body{columns}, d.id FROM documents d{joins.text}"  # noqa: S608 - values are bound
        f" WHERE {where.text} AND {behind.text} ORDER BY {order} LIMIT ?",
        (*joins.parameters, *where.parameters, *behind.parameters, query.limit + 1),
    ).fetchall()


def _has_single_sort(reader: Reader, schema: Schema, query: Query) -> bool:
    """Tell whether the order is by one field of which no document has several values."""
    if len(query.sort) != 1:
        return False
    name = sql.field_name(schema, query.sort[0].field)
    row = reader.execute("SELECT many FROM fields WHERE name = ?", (name,)).fetchone()
    return row is None or not row[0]


def _walked(reader: Reader, schema: Schema, query: Query, where: Sql, mark: Mark) -> list[Any]:
    """Walk the values of the field in order, then the documents without it in the order of their ids."""
    (sort,) = query.sort
    name = sql.field_name(schema, sort.field)
    wanted = query.limit + 1
    rows: list[Any] = []
    if mark is None or mark[0] is not None:
        behind = sql_order.further(sort, mark) if mark else sql.ALWAYS
        # CROSS JOIN keeps the order of the tables: the values lead, and nothing is sorted but ties.
        rows = reader.execute(
            "SELECT d.body, t.value, d.id FROM terms t CROSS JOIN documents d ON d.doc = t.doc"  # noqa: S608
            f" WHERE t.{sql.FIELD} AND {where.text} AND {behind.text}"
            f" ORDER BY t.value {sql_order.way(sort)}, d.id LIMIT ?",
            (name, *where.parameters, *behind.parameters, wanted),
        ).fetchall()
    if len(rows) < wanted:
        last = mark[-1] if mark and mark[0] is None else ""
        rows += reader.execute(
            f"SELECT d.body, NULL, d.id FROM documents d WHERE {where.text} AND d.id > ?"  # noqa: S608
            f" AND d.doc NOT IN (SELECT doc FROM terms WHERE {sql.FIELD}) ORDER BY d.id LIMIT ?",
            (*where.parameters, last, name, wanted - len(rows)),
        ).fetchall()
    return rows
