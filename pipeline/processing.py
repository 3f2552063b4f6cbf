"""What every agent does around its own work: decode, wait out what is down, put aside what is poison.

Guarantees that a passing fault never loses a record (the work is repeated until it succeeds) and that a
record which can never succeed stops nothing (it is parked whole, with its reason, and can be replayed).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import structlog

from pipeline import limits, metrics
from pipeline.app import Parts
from pipeline.errors import BadInput, HeadraceError, Unavailable
from pipeline.events.parked import ParkedEntry, entry_id
from pipeline.events.topics import PARKED, system_topic
from pipeline.log.port import NewRecord, Record
from pipeline.objects.keys import parked_key

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Poison(NamedTuple):
    """A record that cannot be processed, and why."""

    record: Record
    reason: str
    """A short name of the kind of trouble: the class of the error."""
    error: str
    """The whole sentence."""


def poison(record: Record, error: HeadraceError) -> Poison:
    """Make a `Poison` of a record and the error it caused."""
    return Poison(record, type(error).__name__, str(error))


async def readable(
    parts: Parts, agent: str, records: Sequence[Record], read: Callable[[Record], T]
) -> list[tuple[Record, T]]:
    """Read every record, in order; those `read` refuses as bad input are parked and left out."""
    good: list[tuple[Record, T]] = []
    bad: list[Poison] = []
    metrics.AGENT_RECEIVED.labels(agent).inc(len(records))
    for record in records:
        try:
            good.append((record, read(record)))
        except BadInput as error:
            bad.append(poison(record, error))
    await park(parts, agent, bad)
    return good


async def patiently(agent: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat `attempt` until no part is down any more, and return its result.

    Only `Unavailable` is waited out, with growing pauses up to `limits.CALL_BACKOFF_MAX_SECONDS`; each
    wait is logged with its reason and counted. Other errors pass.
    """
    pause_seconds = limits.CALL_BACKOFF_SECONDS
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            metrics.AGENT_FAILED.labels(agent).inc()
            log.warning("waiting", agent=agent, reason=str(error), again_in_seconds=pause_seconds)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)


async def park(parts: Parts, agent: str, poisons: Iterable[Poison]) -> None:
    """Put records aside: the raw value into the object store, then an entry on the parked topic.

    Durable when it returns; doing it again replaces objects and entries by the same ones.
    """
    waiting = iter(poisons)
    while some := list(islice(waiting, limits.PARKED_AT_ONCE)):
        entries = [_entry(agent, each, parts.clock.unix()) for each in some]
        pairs = zip(entries, some, strict=True)
        await asyncio.gather(*(_keep(parts, agent, entry, each.record) for entry, each in pairs))
        # True from here: the values are durable, and nothing tells of them yet.
        await publish(parts, agent, [parked_record(parts, entry) for entry in entries])
        metrics.AGENT_PARKED.labels(agent).inc(len(entries))
        for one in entries:
            log.warning("parked", agent=agent, id=one.id, topic=one.topic, offset=one.offset, why=one.error)


async def _keep(parts: Parts, agent: str, entry: ParkedEntry, record: Record) -> None:
    await patiently(agent, lambda: parts.objects.put(entry.object_key, record.value or b""))


def _entry(agent: str, poison: Poison, now_unix: float) -> ParkedEntry:
    record, reason, error = poison
    name = entry_id(agent, record.topic, record.partition, record.offset)
    raw_names = tuple(header.encode("utf-8", "surrogateescape") for header, _ in record.headers)
    shown = tuple(raw.decode("utf-8", "replace") for raw in raw_names)
    odd = any(text != header for text, (header, _) in zip(shown, record.headers, strict=True))
    return ParkedEntry(
        id=name,
        agent=agent,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        headers=tuple((text, value) for text, (_, value) in zip(shown, record.headers, strict=True)),
        raw_names=raw_names if odd else (),
        reason=reason,
        error=error,
        object_key=parked_key(name),
        size_bytes=len(record.value or b""),
        parked_at=now_unix,
    )


def parked_record(parts: Parts, entry: ParkedEntry) -> NewRecord:
    """Make the record that tells of a parked entry."""
    topic = system_topic(parts.settings.events.prefix, PARKED)
    return NewRecord(topic, entry.id.encode(), entry.encode())


async def publish(parts: Parts, agent: str, records: list[NewRecord]) -> None:
    """Append records, waiting out a log that is down; durable when it returns."""
    if records:
        await patiently(agent, lambda: parts.log.append(records))
        metrics.AGENT_SENT.labels(agent).inc(len(records))
