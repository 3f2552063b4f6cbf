"""enrich: objects nobody has looked at yet get hashes, type, format and rule hits.

Reads: the topics of sourced, extracted and augmented events, and expedited ones.
Writes: one enriched event for each event that has no metadata.
Acknowledges: a record when its enriched event is durable, or when there is nothing to add; records finish
in any order, the committed offset follows the finished ones without gaps.
"""

from __future__ import annotations

import asyncio

import faust

from pipeline import metrics
from pipeline.app import Parts
from pipeline.errors import BadInput, NotFound
from pipeline.events.codec import decode_stored
from pipeline.events.models import BinaryEvent
from pipeline.events.records import record_of
from pipeline.events.topics import binary_topic, system_topic
from pipeline.identify.enrichment import enriched_event, lacks_metadata
from pipeline.identify.pool import ParserPool
from pipeline.log.port import NewRecord, Record
from pipeline.log.transport.app import App
from pipeline.log.transport.batch import Batch
from pipeline.objects.keys import stream_key
from pipeline.processing import park, patiently, poison, publish

NAME = "enrich"
ACTIONS = ("sourced", "extracted", "augmented")


def topics(parts: Parts) -> list[str]:
    """Name the topics this agent reads."""
    prefix = parts.settings.events.prefix
    by_source = [binary_topic(prefix, s, action) for s in parts.sources for action in ACTIONS]
    return [*by_source, system_topic(prefix, "expedite")]


def attach(app: App, parts: Parts, pool: ParserPool) -> None:
    """Add the agent to its Faust app."""

    @app.agent(app.source(*topics(parts)), name=NAME)
    async def enrich(stream: faust.StreamT) -> None:
        window = asyncio.Semaphore(pool.window)
        async with asyncio.TaskGroup() as under_way:
            async for batch in stream.batches():
                metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
                for record in batch.records:
                    await window.acquire()
                    work = under_way.create_task(_enrich(parts, pool, batch, record))
                    work.add_done_callback(lambda _: window.release())


async def _enrich(parts: Parts, pool: ParserPool, batch: Batch, record: Record) -> None:
    try:
        event = decode_stored("binary", record.value)
        if event is not None and lacks_metadata(event):
            found = await patiently(NAME, lambda: _identify(parts, pool, event))
            await publish(parts, NAME, [found])
    except (BadInput, NotFound) as error:
        await park(parts, NAME, [poison(record, error)])
    batch.acknowledge_record(record)


async def _identify(parts: Parts, pool: ParserPool, event: BinaryEvent) -> NewRecord:
    key = stream_key(event.source.name, "content", event.entity.sha256)
    async with parts.objects.file(key) as path:
        identified = await pool.identify(path)
    return record_of(parts.settings.events.prefix, enriched_event(event, identified, parts.clock.now()))
