"""Indices to test with, documents to put into them, and what a query tree means in plain Python."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from opensearchpy import AsyncOpenSearch

from pipeline.index.location import index_at
from pipeline.index.names import Layout
from pipeline.index.port import Document, Index
from pipeline.index.query import (
    And,
    Condition,
    Exists,
    Family,
    Group,
    Not,
    Or,
    Prefix,
    Query,
    Range,
    Sort,
    Term,
    Text,
)

KINDS = ("sqlite", "opensearch")
INDEX_FIELDS = {
    "depth": "whole",
    "size": "whole",
    "features.offset": "whole",
    "features.enriched.float": "number",
    "timestamp": "time",
    "source.timestamp": "time",
    "file_format": "text",
    "filename": "text",
    "magic": "text",
    "features_map.seen": "text",
    "features.enriched.ip": "address",
}
"""Fields the corpora use, and how their values compare."""


@asynccontextmanager
async def an_index(kind: str, folder: Path, *, layout: Layout | None = None) -> AsyncIterator[Index]:
    """Open an empty index of its own, and leave nothing behind."""
    layout = layout or Layout(f"t{uuid.uuid4().hex[:12]}")
    index = index_at(url_of(kind), data_folder=folder, layout=layout)
    try:
        await index.open()
        yield index
    finally:
        await index.close()
        if kind == "opensearch":
            await wipe(layout.partition)


def url_of(kind: str) -> str:
    """Return the setting that chooses an index of this kind."""
    return "sqlite:" if kind == "sqlite" else f"opensearch+{os.environ['PIPELINE_TEST_OPENSEARCH']}"


@asynccontextmanager
async def raw_client() -> AsyncIterator[AsyncOpenSearch]:
    """Give a client of the server's own library, to look behind the index."""
    client = AsyncOpenSearch(hosts=[os.environ["PIPELINE_TEST_OPENSEARCH"]], timeout=60)
    try:
        yield client
    finally:
        await client.close()


async def wipe(partition: str) -> None:
    """Remove the indices and templates of one partition."""
    async with raw_client() as client:
        await client.indices.delete(index=f"azul.*.{partition}.*", params={"ignore_unavailable": "true"})
        await client.indices.delete_index_template(name=f"azul.{partition}.*", params={"ignore": 404})


def sha256_of(name: object, *, first: str = "") -> str:
    """Return a hash that stands for a binary; `first` fixes its first digits."""
    return (first + hashlib.sha256(str(name).encode()).hexdigest())[:64]


def document(name: object, version: int = 1, *, first: str = "a", **fields: Any) -> Document:
    """Make a document of binary knowledge with some fields; its id is made of the name.

    All share one concrete index on OpenSearch unless `first` says otherwise: making one takes long there.
    """
    sha256 = sha256_of(name, first=first)
    body = {"binary_info": {"name": "metadata", "parent": sha256}, "security": "s-any", **fields}
    return Document("binary2", f"{name}", body, version, sha256)


def flattened(body: Any, above: str = "") -> dict[str, list[Any]]:
    """Return the scalars of a body by dotted path."""
    found: dict[str, list[Any]] = {}
    if isinstance(body, dict):
        for name, value in body.items():
            for path, values in flattened(value, f"{above}.{name}" if above else name).items():
                found.setdefault(path, []).extend(values)
    elif isinstance(body, list | tuple):
        for value in body:
            for path, values in flattened(value, above).items():
                found.setdefault(path, []).extend(values)
    elif body is not None:
        found.setdefault(above, []).append(body)
    return found


def comparable(field: str, value: Any) -> Any:
    """Return a value as it compares: times as moments cut to milliseconds, addresses as numbers."""
    match INDEX_FIELDS.get(field):
        case "time":
            moment = dt.datetime.fromisoformat(value)
            return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        case "address":
            return int(ip_address(value))
        case "text":
            return str(value).encode()
        case _:
            return value


def words_in(texts: Iterable[str]) -> set[str]:
    """Return the runs of letters and digits, in lower case, found character by character."""
    words, word = set(), ""
    for text in texts:
        for character in (*text, " "):
            if character.isalnum():
                word += character.lower()
            elif word:
                words.add(word)
                word = ""
    return words


TEXT_FIELDS = ("magic", "file_format", "features.value", "source.name", "author.name")


def holds(condition: Condition, body: dict[str, Any]) -> bool:
    """Say whether a condition holds for a body, by its docstring and nothing else."""
    match condition:
        case And(parts):
            return all(holds(part, body) for part in parts)
        case Or(parts):
            return any(holds(part, body) for part in parts)
        case Not(part):
            return not holds(part, body)
        case _:
            return _leaf_holds(condition, flattened(body))


def _leaf_holds(condition: Term | Prefix | Range | Exists | Text, found: dict[str, list[Any]]) -> bool:
    match condition:
        case Text(words):
            texts = [text for field in TEXT_FIELDS for text in found.get(field, [])]
            return words_in([words]) <= words_in(texts)
        case Exists(field):
            return field in found
        case Term(field, wanted):
            asked = {comparable(field, value) for value in wanted}
            return any(comparable(field, value) in asked for value in found.get(field, []))
        case Prefix(field, start):
            return any(str(value).startswith(start) for value in found.get(field, []))
        case Range(field):
            return any(_within(condition, comparable(field, value)) for value in found.get(field, []))


def _within(bounds: Range, value: Any) -> bool:
    def bound(given: Any) -> Any:
        return comparable(bounds.field, given)

    return (
        (bounds.at_least is None or value >= bound(bounds.at_least))
        and (bounds.above is None or value > bound(bounds.above))
        and (bounds.at_most is None or value <= bound(bounds.at_most))
        and (bounds.below is None or value < bound(bounds.below))
    )


def expected(documents: Sequence[Document], query: Query) -> list[str]:
    """Return the ids a query finds, in order, all pages together."""
    found = [document for document in documents if holds(query.where, dict(document.body))]
    found.sort(key=lambda document: document.id.encode())
    for sort in reversed(query.sort):
        have = [each for each in found if sort.field in flattened(each.body)]
        lack = [each for each in found if sort.field not in flattened(each.body)]
        have.sort(key=lambda each: _sort_key(each, sort), reverse=sort.descending)
        found = have + lack
    return [document.id for document in found]


def _sort_key(document: Document, sort: Sort) -> Any:
    values = [comparable(sort.field, value) for value in flattened(document.body)[sort.field]]
    return max(values) if sort.descending else min(values)


def expected_groups(documents: Sequence[Document], group: Group) -> list[tuple[Any, int]]:
    """Return the values of a text field with their counts."""
    counts: dict[str, int] = {}
    for each in documents:
        if holds(group.where, dict(each.body)):
            for value in set(flattened(each.body).get(group.field, [])):
                counts[value] = counts.get(value, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[: group.limit]


async def all_ids(index: Index, family: Family, query: Query) -> list[str]:
    """Return the ids of every page of a search."""
    ids: list[str] = []
    after = query.after
    while True:
        page = await index.search(family, Query(query.where, query.sort, limit=query.limit, after=after))
        ids += [hit.id for hit in page.hits]
        if page.next is None:
            return ids
        after = page.next
