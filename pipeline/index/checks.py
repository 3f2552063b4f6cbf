"""From any query tree to one that an index can compile without asking further questions.

Guarantees that depth, number of parts and number of values are within their limits, that every field
exists and can be searched, and that every value has the canonical form of its field's type
(`pipeline.index.values`). What can be decided here is: a bound outside a type's range is open or
impossible, an open range is `Exists`, an empty prefix too. The compilers see only what is left, so both
indices answer alike.
"""

from __future__ import annotations

import math
import re
from typing import Final

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.index import values
from pipeline.index.query import And, Condition, Exists, Not, Or, Prefix, Query, Range, Scalar, Term, Text
from pipeline.index.query import Group as Grouping
from pipeline.index.schema import Field, Schema
from pipeline.index.sql_values import sql_value
from pipeline.index.values import Canonical
from pipeline.index.words import words_of

NOTHING: Final = Or(())
"""Holds for no document."""

_WHOLE_TEXT: Final = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NUMBER_TEXT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def check_query(query: Query, schema: Schema) -> Condition:
    """Check a whole query and return its condition in canonical form.

    Raises:
        QueryError: Something in it makes no sense; the message says what.
    """
    _check_limit(query.limit)
    if len(query.sort) > limits.QUERY_SORTS_MAX:
        raise QueryError("sort the hits", f"at most {limits.QUERY_SORTS_MAX} fields, not {len(query.sort)}")
    for sort in query.sort:
        schema.field(sort.field)
    return check(query.where, schema)


def check_group(group: Grouping, schema: Schema) -> Condition:
    """Check a grouping and return its condition in canonical form.

    Raises:
        QueryError: Something in it makes no sense; the message says what.
    """
    _check_limit(group.limit)
    schema.field(group.field)
    return check(group.where, schema)


def check(condition: Condition, schema: Schema) -> Condition:
    """Check a condition and return it in canonical form.

    Raises:
        QueryError: It is too deep or too large, or a field or value makes no sense.
    """
    return _Checker(schema).check(condition, 1)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= limits.SEARCH_PAGE_MAX:
        raise QueryError("search", f"the limit is 1 to {limits.SEARCH_PAGE_MAX}, not {limit}")


class _Checker:
    """Walks one tree and counts what it meets."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._parts = 0
        self._values = 0

    def check(self, condition: Condition, depth: int) -> Condition:
        if depth > limits.QUERY_DEPTH_MAX:
            raise QueryError("search", f"conditions are nested more than {limits.QUERY_DEPTH_MAX} deep")
        self._count(parts=1)
        match condition:
            case And(parts):
                return And(tuple(self.check(part, depth + 1) for part in parts))
            case Or(parts):
                return Or(tuple(self.check(part, depth + 1) for part in parts))
            case Not(part):
                return Not(self.check(part, depth + 1))
            case Text(words):
                return self._text(words)
            case _:
                return self._leaf(condition, self._schema.field(condition.field))

    def _leaf(self, condition: Term | Prefix | Range | Exists, field: Field) -> Condition:
        match condition:
            case Term(_, wanted):
                self._count(found=len(wanted))
                return _term(field, wanted)
            case Prefix(_, start):
                return _prefix(field, start)
            case Range():
                return _range(field, condition)
            case Exists():
                return condition

    def _text(self, text: str) -> Condition:
        _check_text(text)
        words = words_of([text])
        if not words:
            raise QueryError(f"search for the words of {text[:64]!r}", "it has no letter and no digit")
        self._count(parts=len(words) - 1)
        return Text(" ".join(words))

    def _count(self, *, parts: int = 0, found: int = 0) -> None:
        self._parts += parts
        self._values += found
        if self._parts > limits.QUERY_PARTS_MAX:
            raise QueryError("search", f"a search has at most {limits.QUERY_PARTS_MAX} parts")
        if self._values > limits.QUERY_VALUES_MAX:
            raise QueryError("search", f"a search looks for at most {limits.QUERY_VALUES_MAX} values")


def _term(field: Field, wanted: tuple[Scalar, ...]) -> Condition:
    found = [value for value in (_read(field, each) for each in wanted) if _possible(field, value)]
    return Term(field.path, tuple(dict.fromkeys(found))) if found else NOTHING


def _possible(field: Field, value: Canonical) -> bool:
    """Tell whether a field of this type can hold the value; looking for others finds nothing."""
    if field.kind in values.WHOLE:
        smallest, largest = values.WHOLE[field.kind]
        return isinstance(value, int) and smallest <= value <= largest
    return True


def _prefix(field: Field, start: str) -> Condition:
    if field.kind != "keyword":
        raise QueryError(
            f"search {field.path!r} by prefix", f"it is a field of type {field.kind}, not text"
        )
    _check_text(start)
    return Prefix(field.path, start) if start else Exists(field.path)


def _range(field: Field, asked: Range) -> Condition:
    if field.kind in ("boolean", "join"):
        raise QueryError(f"search {field.path!r} by range", f"a {field.kind} field has no order")
    bounds = {
        name: _read(field, value)
        for name in ("at_least", "above", "at_most", "below")
        if (value := getattr(asked, name)) is not None
    }
    if field.kind in values.WHOLE:
        return _whole_range(field, bounds)  # type: ignore[arg-type]
    return Range(field.path, **_tightest(field, bounds)) if bounds else Exists(field.path)


def _tightest(field: Field, bounds: dict[str, Canonical]) -> dict[str, Canonical]:
    """Leave one bound on each side: OpenSearch listens to the last one it is told only."""

    def is_beyond(strict: str, loose: str, sign: int) -> bool:
        one, other = (sql_value(field.kind, bounds[name]) for name in (strict, loose))
        return one == other or (one > other) == (sign > 0)  # type: ignore[operator]

    for strict, loose, sign in (("above", "at_least", 1), ("below", "at_most", -1)):
        if strict in bounds and loose in bounds:
            del bounds[loose if is_beyond(strict, loose, sign) else strict]
    return bounds


def _whole_range(field: Field, bounds: dict[str, int | float]) -> Condition:
    """Bring bounds to one inclusive pair of whole numbers within the type."""
    smallest, largest = values.WHOLE[field.kind]
    first = max(
        smallest,
        math.ceil(bounds.get("at_least", smallest)),
        math.floor(bounds.get("above", smallest - 1)) + 1,
    )
    last = min(
        largest,
        math.floor(bounds.get("at_most", largest)),
        math.ceil(bounds.get("below", largest + 1)) - 1,
    )
    if first > last:
        return NOTHING
    if (first, last) == (smallest, largest):
        return Exists(field.path)
    return Range(field.path, at_least=first, at_most=last)


def _read(field: Field, value: Scalar) -> Canonical:
    """Read a value asked for as one of the field's type; text is understood for every type."""
    if isinstance(value, str):
        _check_text(value)
    try:
        match field.kind:
            case "integer" | "long" | "unsigned_long":
                return _number(value)
            case "double":
                return values.fraction(_number(value))
            case "date":
                return values.time(value)
            case "boolean":
                return values.boolean(value)
            case "ip":
                return values.address(value)
            case _:
                return values.keyword(value)
    except (ValueError, OverflowError) as error:
        raise QueryError(f"search {field.path!r} for {str(value)[:64]!r}", str(error)) from None


def _number(value: Scalar) -> int | float:
    """Take a number or its text; whole numbers stay exact."""
    if isinstance(value, str):
        if _WHOLE_TEXT.fullmatch(value):
            return int(value)
        if not _NUMBER_TEXT.fullmatch(value):
            raise values.Unfit("it takes a number")
        value = float(value)
    if isinstance(value, bool):
        raise values.Unfit("it takes a number")
    if isinstance(value, float):
        return int(value) if value.is_integer() else values.fraction(value)
    return value


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError("search", f"a text is not Unicode: {error.reason}") from None
