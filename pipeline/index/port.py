"""What an index is to the rest of Headrace: documents by id, found by a query tree.

`pipeline.index.opensearch` and `pipeline.index.sqlite` keep this contract and pass one test suite.
Documents have the shape of the metastore contract, section 3, in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pipeline.index.query import Family, Group, Query


class Document(msgspec.Struct, frozen=True):
    """One document. `version` orders writes of the same id: a lower one never replaces a higher one."""

    family: Family
    id: str
    body: Mapping[str, Any]
    version: int
    routing: str | None = None
    """What keeps documents together: the sha256, for `binary2`."""


class Hit(msgspec.Struct, frozen=True):
    """One document found."""

    id: str
    body: dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """A page of hits. `total` counts all that match; `next` asks for the page after, None at the end."""

    hits: list[Hit]
    total: int
    next: str | None


class Refused(msgspec.Struct, frozen=True):
    """A document the index would not take, and its reason; trying again will not help."""

    id: str
    reason: str


class Index(Protocol):
    """The operations every index offers. All raise `Unavailable` when it does not answer in time."""

    async def open(self) -> None:
        """Connect and create what is missing: templates and base indices, or tables."""

    async def close(self) -> None:
        """Let go of connections; safe to repeat."""

    async def put(self, documents: Sequence[Document]) -> list[Refused]:
        """Write documents; durable when it returns. Writing the same ones again changes nothing.

        A document with a version not above the stored one is skipped silently. Documents that can never
        be taken are returned, the others are written all the same.
        """

    async def get(self, family: Family, ids: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
        """Return the bodies of the documents that exist, by id. `ids` maps each id to its routing."""

    async def search(self, family: Family, query: Query) -> Page:
        """Return one page. Raises `QueryError` for a page mark or field that makes no sense."""

    async def group(self, family: Family, group: Group) -> list[tuple[str, int]]:
        """Return the values of a field with the number of documents that have each."""

    async def refresh(self) -> None:
        """Make everything written so far visible to `search` and `group`."""
