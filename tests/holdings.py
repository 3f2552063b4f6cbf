"""What an installation holds, counted in every part: objects, events, rows and documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agents import archive
from pipeline.app import Parts
from pipeline.database import tables
from pipeline.events.codec import decode_stored
from pipeline.events.models import BinaryEvent
from pipeline.events.topics import binary_topic
from pipeline.index.query import And, Condition, Query, Term
from pipeline.log.port import TopicPartition
from tests.agents.installation import records_of

PAGE = 500


class Holdings(NamedTuple):
    """Numbers of things."""

    content_objects: int
    archive_objects: int
    parents: int
    submissions: int
    enriched_documents: int
    rows: int
    places: int
    """Different places in the log among the rows."""
    archived_events: int
    """Events on the topics that are archived."""


async def holdings(parts: Parts, source: str) -> Holdings:
    """Count what one source brought, and the whole archive."""
    await parts.index.refresh()
    rows, places = await parts.database.read("count rows", _count_rows)
    return Holdings(
        content_objects=await _objects(parts, f"{source}/content/"),
        archive_objects=await _objects(parts, parts.settings.archive.prefix),
        parents=await _documents(parts, Term("binary_info", ("binary",))),
        submissions=await _documents(parts, Term("action", ("sourced",))),
        enriched_documents=await _documents(parts, Term("action", ("enriched",))),
        rows=rows,
        places=places,
        archived_events=await _events(parts, archive.topics(parts)),
    )


async def check_complete(
    parts: Parts, source: str, hashes: Sequence[str], *, left_over: int = 0
) -> Holdings:
    """Fail unless every file, of which `hashes` has one entry each, is in every part exactly once.

    Events may be there more than once: see `times_published`. `left_over` objects may be there without an
    event: their submitter was never told that they were accepted.
    """
    held = await holdings(parts, source)
    distinct = len(set(hashes))
    assert distinct <= held.content_objects <= distinct + left_over
    assert held.parents == distinct, held
    assert held.enriched_documents == distinct
    assert held.submissions == len(hashes)
    assert held.rows == held.places == held.archived_events == held.archive_objects
    assert await found_by_hash(parts, hashes) == set(hashes)
    assert len(await times_published(parts, source, "sourced")) == len(hashes)
    assert len(await times_published(parts, source, "enriched")) == len(hashes)
    return held


async def submitted_hashes(parts: Parts, source: str) -> list[str]:
    """Return the hashes of a source's files, one for each that was ever announced."""
    topic = binary_topic(parts.settings.events.prefix, source, "sourced")
    newest = {record.key: record.value for record in await records_of(parts, topic)}
    events = [decode_stored("binary", value) for value in newest.values()]
    return [event.entity.sha256 for event in events if isinstance(event, BinaryEvent)]


async def found_by_hash(parts: Parts, hashes: Iterable[str]) -> set[str]:
    """Search for hashes; return those for which an enriched document came back."""
    wanted = sorted(set(hashes))
    found: set[str] = set()
    for start in range(0, len(wanted), PAGE):
        where = And((Term("sha256", tuple(wanted[start : start + PAGE])), Term("action", ("enriched",))))
        page = await parts.index.search("binary2", Query(where, limit=PAGE))
        found |= {hit.body["sha256"] for hit in page.hits if hit.body["mime"]}
    return found


async def times_published(parts: Parts, source: str, action: str) -> Counter[bytes | None]:
    """Count the events of one action by their keys."""
    topic = binary_topic(parts.settings.events.prefix, source, action)
    return Counter(record.key for record in await records_of(parts, topic))


async def published(parts: Parts, source: str, action: str) -> int:
    """Count the events of one action."""
    return await _events(parts, [binary_topic(parts.settings.events.prefix, source, action)])


async def _count_rows(connection: AsyncConnection) -> tuple[int, int]:
    columns = tables.messages.c
    place = select(columns.topic, columns.kafka_partition, columns.kafka_offset).distinct().subquery()
    rows = await connection.scalar(select(func.count()).select_from(tables.messages))
    places = await connection.scalar(select(func.count()).select_from(place))
    return rows or 0, places or 0


async def _objects(parts: Parts, prefix: str) -> int:
    return len([stat async for stat in parts.objects.list(prefix)])


async def _documents(parts: Parts, where: Condition) -> int:
    return (await parts.index.search("binary2", Query(where, limit=1))).total


async def _events(parts: Parts, topics: Iterable[str]) -> int:
    counts = await parts.log.topics()
    places = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
    return sum(bounds.end - bounds.start for bounds in (await parts.log.bounds(places)).values())
