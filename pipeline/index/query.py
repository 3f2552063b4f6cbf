"""The query tree: the one form every search takes before it becomes OpenSearch DSL or SQL.

A tree is built by the web surface and the commands, checked here, and compiled by an index. Field names
are the dotted paths of the documents (metastore contract, section 3.3): ``source.name``,
``features.value``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Scalar = str | int | float | bool


class Term(msgspec.Struct, frozen=True, tag=True):
    """The field has one of the values, exactly."""

    field: str
    values: tuple[Scalar, ...]


class Prefix(msgspec.Struct, frozen=True, tag=True):
    """The field has a value that starts so."""

    field: str
    value: str


class Range(msgspec.Struct, frozen=True, tag=True):
    """The field lies within bounds: numbers, or times as RFC 3339 text. A bound left out is open."""

    field: str
    at_least: Scalar | None = None
    below: Scalar | None = None
    above: Scalar | None = None
    at_most: Scalar | None = None


class Exists(msgspec.Struct, frozen=True, tag=True):
    """The field has any value."""

    field: str


class Text(msgspec.Struct, frozen=True, tag=True):
    """Every word occurs somewhere in the document's text, in any case and order."""

    words: str


class And(msgspec.Struct, frozen=True, tag=True):
    """All parts hold; no parts hold always."""

    parts: tuple[Condition, ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """At least one part holds; no parts never hold."""

    parts: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """The part does not hold."""

    part: Condition


Condition = Term | Prefix | Range | Exists | Text | And | Or | Not


class Sort(msgspec.Struct, frozen=True):
    """Order by a field; documents without it come last. Ties are broken by document id."""

    field: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """One search: which documents, in what order, which page of them."""

    where: Condition = And(())
    sort: tuple[Sort, ...] = ()
    limit: int = 25
    after: str | None = None
    """The `next` of the page before; opaque."""


class Group(msgspec.Struct, frozen=True):
    """Count documents by the values of a field, most frequent first, ties by value."""

    field: str
    where: Condition = And(())
    limit: int = 25


Family = Literal["binary2", "status", "plugin"]
