"""Which fields documents have, read from the templates in conf/opensearch.

One description for both indices: what OpenSearch maps is what SQLite indexes, and a search for anything
else is refused in both. Contract: metastore sections 3.3, 3.5.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final, cast, get_args

import msgspec

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.index.query import Family
from pipeline.index.values import Kind

FAMILIES: Final[tuple[Family, ...]] = get_args(Family)
OWN_FIELDS: Final = ("document_id", "text")
"""Fields an index adds for itself: the id to sort by, and all text in one place."""

_SEARCHABLE: Final = frozenset(get_args(Kind)) - {"stored"}


class Field(msgspec.Struct, frozen=True):
    """A field of a family. `ignore_above` is the longest text kept searchable, in UTF-16 units."""

    path: str
    kind: Kind
    ignore_above: int = 0
    in_text: bool = False


class Schema:
    """The fields of one family.

    `open_fields` are groups that take any name as a keyword field: ``features_map``.
    """

    def __init__(self, family: Family, template: Mapping[str, Any]) -> None:
        self.family = family
        self.template = template
        self.mapping: Mapping[str, Any] = template["mappings"]
        self.open_fields = frozenset(self.mapping.get("_meta", {}).get("open_fields", ()))
        self.routed = bool(self.mapping.get("_routing", {}).get("required"))
        self.fields = {field.path: field for field in _fields(self.mapping["properties"])}

    def field(self, path: str) -> Field:
        """Return the field of that name.

        Raises:
            QueryError: There is none, or it cannot be searched.
        """
        field = self.fields.get(path) or self._open_field(path)
        if field is None:
            raise QueryError(f"search by {path[:200]!r}", "there is no such field", self._advice(path))
        if field.kind == "stored" or path in OWN_FIELDS:
            raise QueryError(f"search by {path!r}", "this field is kept but cannot be searched")
        return field

    def _open_field(self, path: str) -> Field | None:
        group, _, name = path.partition(".")
        if group in self.open_fields and feature_field(name) == name:
            return open_field(path)
        return None

    def _advice(self, path: str) -> str:
        below = [known for known in self.fields if known.startswith(path + ".")]
        near = below[:5] or difflib.get_close_matches(path, self.fields, n=3)
        return f"did you mean {' or '.join(near)}?" if near else ""


def open_field(path: str) -> Field:
    """Describe a field of an open group."""
    return Field(path, "keyword", OPEN_MAPPING["ignore_above"])


OPEN_MAPPING: Final[dict[str, Any]] = {"type": "keyword", "ignore_above": 8000}
"""How OpenSearch maps a field of an open group when its name is first seen."""


def feature_field(name: str) -> str | None:
    """Return the name of the ``features_map`` field of a feature, None when it cannot have one.

    Dots part levels of a mapping, so they become underscores; a name that is blank or very long has no
    field of its own and is found by ``features.name`` only.
    """
    if not name.strip() or len(name) > limits.FEATURE_NAME_MAX_CHARACTERS:
        return None
    return name.replace(".", "_")


@functools.cache
def schema_of(family: Family) -> Schema:
    """Return the schema of a family, read once.

    Raises:
        QueryError: There is no such family.
    """
    if family not in FAMILIES:
        raise QueryError(f"search {family!r}", "there is no such family", f"use {', '.join(FAMILIES)}")
    text = resources.files("conf").joinpath("opensearch", f"{family}.json").read_bytes()
    return Schema(family, msgspec.json.decode(text))


def _fields(properties: Mapping[str, Any], above: str = "") -> Iterator[Field]:
    for name, mapping in properties.items():
        path = above + name
        if "properties" in mapping:
            yield from _fields(mapping["properties"], path + ".")
            continue
        kind = mapping["type"]
        yield Field(
            path,
            cast("Kind", kind) if kind in _SEARCHABLE else "stored",
            mapping.get("ignore_above", 0),
            in_text=mapping.get("copy_to") == "text",
        )
