"""From a checked query tree to OpenSearch's query DSL.

Everything is a filter: nothing is scored, so answers can be cached by the server and order never depends on
the statistics of a shard. Values stand in JSON, never in a query string that would be parsed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline import limits
from pipeline.index.query import (
    And,
    Condition,
    Exists,
    Group,
    Not,
    Or,
    Prefix,
    Range,
    Scalar,
    Sort,
    Term,
    Text,
)
from pipeline.index.schema import Schema
from pipeline.index.values import Kind, time_text

_BOUNDS: Final = (("at_least", "gte"), ("above", "gt"), ("at_most", "lte"), ("below", "lt"))
_AS_FRACTION: Final[dict[Kind, dict[str, str]]] = {
    "integer": {"numeric_type": "double"},
    "unsigned_long": {"numeric_type": "double"},
}
"""Missing values sort as the least or greatest of the type, which a size of 0 is too; as fractions they
sort as infinite, and no value is. Sizes beyond 8 PiB that differ by bytes compare as equal."""
_ALL: Final[dict[str, Any]] = {"match_all": {}}
_NONE: Final[dict[str, Any]] = {"match_none": {}}


def clause(condition: Condition, schema: Schema) -> dict[str, Any]:
    """Compile a checked condition."""
    match condition:
        case And(parts):
            return {"bool": {"filter": [clause(part, schema) for part in parts]}} if parts else _ALL
        case Or(parts):
            return _any_of([clause(part, schema) for part in parts]) if parts else _NONE
        case Not(part):
            return {"bool": {"must_not": [clause(part, schema)]}}
        case _:
            return _leaf(condition, schema)


def sort_list(sorts: Sequence[Sort], schema: Schema) -> list[dict[str, Any]]:
    """Compile an order; ties are broken by document id."""
    listed = [
        {
            sort.field: {
                "order": "desc" if sort.descending else "asc",
                "missing": "_last",
                "unmapped_type": schema.field(sort.field).kind,
                **_AS_FRACTION.get(schema.field(sort.field).kind, {}),
            }
        }
        for sort in sorts
    ]
    return [*listed, {"document_id": {"order": "asc", "unmapped_type": "keyword"}}]


def aggregation(group: Group) -> dict[str, Any]:
    """Compile a grouping: most frequent first, ties by value."""
    return {
        "terms": {
            "field": group.field,
            "size": group.limit,
            "shard_size": max(limits.GROUP_SHARD_SIZE, group.limit),
            "order": [{"_count": "desc"}, {"_key": "asc"}],
        }
    }


def _any_of(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"should": clauses, "minimum_should_match": 1}}


def _range(condition: Range, schema: Schema) -> dict[str, Any]:
    kind = schema.field(condition.field).kind
    bounds = {
        sign: _spelled(value, kind)
        for name, sign in _BOUNDS
        if (value := getattr(condition, name)) is not None
    }
    return {"range": {condition.field: bounds}}


def _spelled(value: Scalar, kind: Kind) -> Scalar:
    """Spell a time as text: a number of four digits would be read as a year."""
    return time_text(int(value)) if kind == "date" else value


def _leaf(condition: Term | Prefix | Range | Exists | Text, schema: Schema) -> dict[str, Any]:
    match condition:
        case Text(words):
            return {"bool": {"filter": [{"term": {"text": {"value": word}}} for word in words.split()]}}
        case Term(field, wanted):
            return {"terms": {field: [_spelled(value, schema.field(field).kind) for value in wanted]}}
        case Prefix(field, start):
            return {"prefix": {field: {"value": start}}}
        case Exists(field):
            return {"exists": {"field": field}}
        case Range():
            return _range(condition, schema)
