"""The searchable values of a document, found in one walk over its body.

Plays for SQLite the part OpenSearch's mapping plays on the server: nested objects and lists are flattened
to dotted fields, unknown fields and values of the wrong type refuse the document, a text that is too long
is kept but not searchable. A walker is made once per family; a walk costs about a microsecond per value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.index import values
from pipeline.index.schema import Field, Schema, open_field
from pipeline.index.sql_values import ENCODERS, SqlValue
from pipeline.index.values import Unfit

Number = Callable[[Field], int]
Found = tuple[set[tuple[int, SqlValue]], list[str]]
"""Pairs of field number and value, and the texts that go into full-text search."""


class _Leaf:
    """A field: how its values are taken."""

    __slots__ = ("encode", "ignore_above", "in_text", "is_text", "number", "path")

    def __init__(self, field: Field, number: int) -> None:
        self.path = field.path
        self.number = number
        self.encode = ENCODERS[field.kind]
        self.ignore_above = field.ignore_above
        self.in_text = field.in_text
        self.is_text = field.kind == "keyword"


class _Group:
    """An object: its members by name, and what happens to others."""

    __slots__ = ("members", "others", "path")

    def __init__(self, path: str, others: str) -> None:
        self.path = path
        self.others = others
        self.members: dict[str, _Group | _Leaf | None] = {}


_STRICT: Final = "strict"
_KEPT: Final = "kept"
_OPEN: Final = "open"


class Walker:
    """Walks the bodies of one family.

    Args:
        schema: What fields there are.
        number: Gives a field its number in the index; asked once for each field.
    """

    def __init__(self, schema: Schema, number: Number) -> None:
        self._schema = schema
        self._number = number
        self._root = self._group("", schema.mapping, _STRICT)

    def walk(self, body: Mapping[str, Any]) -> Found:
        """Return what is searchable in a body.

        Raises:
            Unfit: The body has an unknown field, or a value of the wrong type.
        """
        found: Found = (set(), [])
        self._walk(self._root, body, found)
        return found

    def _group(self, path: str, mapping: Mapping[str, Any], others: str) -> _Group:
        if mapping.get("dynamic") == "false":
            others = _KEPT
        group = _Group(path, _OPEN if path in self._schema.open_fields else others)
        above = f"{path}." if path else ""
        for name, member in mapping["properties"].items():
            below = above + name
            if "properties" in member:
                group.members[name] = self._group(below, member, others)
            else:
                field = self._schema.fields[below]
                group.members[name] = None if field.kind == "stored" else _Leaf(field, self._number(field))
        return group

    def _walk(self, group: _Group, body: Mapping[str, Any], found: Found) -> None:
        members = group.members
        for name, value in body.items():
            if name not in members and not self._joins(group, name):
                continue
            member = members[name]
            if value is None or member is None:
                continue
            if type(member) is _Leaf:
                _take(member, value, found)
            else:
                self._enter(member, value, found)  # type: ignore[arg-type]

    def _joins(self, group: _Group, name: str) -> bool:
        """Tell whether an unknown name becomes a field; in an open group it does, for good."""
        path = f"{group.path}.{name}" if group.path else name
        if group.others == _STRICT:
            raise Unfit(f"there is no field {path!r}")
        if group.others == _OPEN:
            field = open_field(path)
            group.members[name] = _Leaf(field, self._number(field))
        return group.others == _OPEN

    def _enter(self, group: _Group, value: Any, found: Found) -> None:
        if isinstance(value, Mapping):
            self._walk(group, value, found)
        elif isinstance(value, list | tuple):
            for each in value:
                if each is not None:
                    self._enter(group, each, found)
        else:
            raise Unfit(f"{group.path!r} takes an object")


def _take(leaf: _Leaf, value: Any, found: Found) -> None:
    if type(value) is list or type(value) is tuple:
        for each in value:
            if each is not None:
                _take(leaf, each, found)
        return
    stored = value if leaf.is_text and type(value) is str else _encoded(leaf, value)
    if leaf.in_text:
        found[1].append(stored)
    if leaf.is_text and 2 * len(stored) > leaf.ignore_above and values.too_long(stored, leaf.ignore_above):
        return
    found[0].add((leaf.number, stored))


def _encoded(leaf: _Leaf, value: Any) -> Any:
    try:
        return leaf.encode(value)
    except (ValueError, OverflowError) as error:
        raise Unfit(f"{leaf.path!r}: {error}") from None
