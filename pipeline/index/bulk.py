"""Bulk writes to OpenSearch: from documents to request bodies, and from answers to what became of each.

Versions are external (a document never replaces one of the same or a higher version), so every request may
be sent again: what was written the first time answers with a version conflict and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from pipeline import limits
from pipeline.errors import StorageFull, Unavailable
from pipeline.index.opensearch_calls import BLOCKED, reason_of
from pipeline.index.port import Document, Refused

_CONFLICT: Final = 409
_OK: Final = 300
_BAD_REQUEST: Final = 400
STRICT: Final = "strict_dynamic_mapping_exception"


class Item(msgspec.Struct, frozen=True):
    """A document on its way: the index it goes to and the two lines of its request."""

    document: Document
    index: str
    lines: bytes


def make_item(document: Document, body: bytes, index: str, dropped: frozenset[str]) -> Item:
    """Build the lines of one document; fields the server does not map are left out."""
    if not dropped.isdisjoint(document.body):
        body = orjson.dumps({name: value for name, value in document.body.items() if name not in dropped})
    action = {
        "_index": index,
        "_id": document.id,
        "version": document.version,
        "version_type": "external",
        **({"routing": document.routing} if document.routing else {}),
    }
    id_ = b'{"document_id":' + orjson.dumps(document.id) + (b"," if len(body) > len(b"{}") else b"")
    return Item(document, index, b"%b\n%b%b\n" % (orjson.dumps({"index": action}), id_, body[1:]))


def removal(index: str, document: Document) -> bytes:
    """Build the line that removes what an index holds under a document's id, unless that is newer."""
    action = {
        "_index": index,
        "_id": document.id,
        "version": document.version,
        "version_type": "external_gte",
    }
    return orjson.dumps({"delete": action}) + b"\n"


def requests(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Part items into requests of bounded size."""
    some: list[Item] = []
    size = 0
    for item in items:
        if some and size + len(item.lines) > limits.INDEX_BULK_MAX_BYTES:
            yield some
            some, size = [], 0
        some.append(item)
        size += len(item.lines)
    if some:
        yield some


class Outcome(msgspec.Struct):
    """What became of documents: refused ones, and those that met a mapping without their field names."""

    refused: list[Refused] = []
    unmapped: list[tuple[Item, str]] = []

    def add(self, other: Outcome) -> None:
        """Take in the outcome of another request."""
        self.refused += other.refused
        self.unmapped += other.unmapped


def judge(items: Sequence[Item], answer: Mapping[str, Any], tried: str) -> Outcome:
    """Read an answer.

    Raises:
        Unavailable: The server was too busy for some; send the whole request again.
        StorageFull: It takes no more documents.
    """
    if not answer["errors"]:
        return Outcome()
    found = Outcome()
    for item, result in zip(items, answer["items"], strict=True):
        (outcome,) = result.values()
        status, error = outcome["status"], outcome.get("error") or {}
        if status < _OK or status == _CONFLICT:
            continue
        reason = reason_of(error)
        if error.get("type") == BLOCKED:
            raise StorageFull(tried, reason, "free space on its disks, then remove the block")
        if status != _BAD_REQUEST:
            raise Unavailable(tried, f"{status}: {reason}", "it is overloaded or starting")
        if error.get("type") == STRICT:
            found.unmapped.append((item, reason))
        else:
            found.refused.append(Refused(item.document.id, reason))
    return found
