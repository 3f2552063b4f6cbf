"""Where the bytes of an object are: its copies in the store, found by what the index and the settings say.

An object lies under each source and label it came with (dispatcher contract, section 18). The index knows
those of every event it has seen; the configured sources are tried as well, because an object is stored
before its event is indexed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from typing import Any

import msgspec

from pipeline.app import Parts
from pipeline.errors import BadInput, NotFound
from pipeline.events.names import CONTENT
from pipeline.index.port import Hit, Page
from pipeline.index.query import Or, Query, Sort, Term
from pipeline.objects.keys import stream_key
from pipeline.objects.port import Stat


class Copy(msgspec.Struct, frozen=True):
    """The object under one source and label."""

    source: str
    label: str
    key: str
    size_bytes: int
    modified: dt.datetime


async def documents_of(parts: Parts, sha256: str, limit: int) -> Page:
    """Return the newest documents about an object, or about what it was part of as a stream."""
    where = Or((Term("sha256", (sha256,)), Term("datastreams.sha256", (sha256,))))
    return await parts.index.search("binary2", Query(where, (Sort("timestamp", descending=True),), limit))


async def copies_of(parts: Parts, sha256: str, hits: Iterable[Hit]) -> list[Copy]:
    """Look up every copy the store may have; those it has, by source and label."""
    wanted = sorted({(name, CONTENT) for name in parts.sources} | _named(hits, sha256))
    stats = await asyncio.gather(*(_stat(parts, source, label, sha256) for source, label in wanted))
    return [
        Copy(source, label, stat.key, stat.size_bytes, stat.modified)
        for (source, label), stat in zip(wanted, stats, strict=True)
        if stat is not None
    ]


async def any_copy(parts: Parts, sha256: str) -> Copy:
    """Return one copy of an object, the one under label ``content`` when there are several.

    Raises:
        NotFound: The store has none.
    """
    copies = await copies_of(parts, sha256, ())
    if not copies:
        page = await documents_of(parts, sha256, 10)
        copies = await copies_of(parts, sha256, page.hits)
    if not copies:
        raise NotFound(f"get object {sha256}", "the store has no such object")
    return min(copies, key=lambda copy: (copy.label != CONTENT, copy.source))


def _named(hits: Iterable[Hit], sha256: str) -> set[tuple[str, str]]:
    """Collect the (source, label) pairs documents name for an object."""
    found = set()
    for hit in hits:
        source = hit.body.get("source", {}).get("name", "")
        streams: list[dict[str, Any]] = hit.body.get("datastreams") or []
        labels = {stream.get("label", "") for stream in streams if stream.get("sha256") == sha256}
        found |= {(source, label) for label in labels if source and label}
    return found


async def _stat(parts: Parts, source: str, label: str, sha256: str) -> Stat | None:
    try:
        key = stream_key(source, label, sha256)
    except BadInput:
        return None  # a document may name what no store can hold
    return await parts.objects.stat(key)
