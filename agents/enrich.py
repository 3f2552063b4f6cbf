"""enrich: objects nobody has looked at yet get hashes, type, format and rule hits.

Reads: the topics of sourced, extracted and augmented events, and expedited ones.
Writes: one enriched event for each event that has no metadata, and none again that a crash left
unacknowledged.
Acknowledges: a record when its enriched event is durable, or when there is nothing to add; records finish
in any order, the committed offset follows the finished ones without gaps.
"""

from __future__ import annotations

import asyncio

import faust

from pipeline import metrics
from pipeline.answered import Answered
from pipeline.app import Parts
from pipeline.errors import BadInput, Damaged, NotFound
from pipeline.events.codec import decode_stored
from pipeline.events.models import BinaryEvent
from pipeline.events.records import address_of, record_of
from pipeline.events.topics import binary_topic, system_topic
from pipeline.identify.enrichment import enriched_event, enriched_outline, lacks_metadata
from pipeline.identify.pool import ParserPool
from pipeline.log.port import NewRecord, Record
from pipeline.log.transport.app import App
from pipeline.log.transport.batch import Batch
from pipeline.objects.keys import stream_key
from pipeline.processing import park, patiently, poison

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
        answered = Answered(parts, NAME, lambda: app.consumer_generation_id)
        window = asyncio.Semaphore(pool.window)
        async with asyncio.TaskGroup() as under_way:
            async for batch in stream.batches():
                metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
                for record in batch.records:
                    await window.acquire()
                    work = under_way.create_task(_enrich(parts, pool, answered, batch, record))
                    work.add_done_callback(lambda _: window.release())


async def _enrich(parts: Parts, pool: ParserPool, answered: Answered, batch: Batch, record: Record) -> None:
    try:
        event = decode_stored("binary", record.value)
        if event is not None and lacks_metadata(event):
            answer = address_of(parts.settings.events.prefix, enriched_outline(event))
            async with answered.alone(answer):
                if not await answered.has(answer, record):
                    found = await patiently(NAME, lambda: _identify(parts, pool, event))
                    if not batch.current:
                        return  # whoever has the partition now does it
                    await answered.publish(found)
    except (BadInput, NotFound, Damaged) as error:
        await park(parts, NAME, [poison(record, error)])
    batch.acknowledge_record(record)


async def _identify(parts: Parts, pool: ParserPool, event: BinaryEvent) -> NewRecord:
    key = stream_key(event.source.name, "content", event.entity.sha256)
    async with parts.objects.file(key) as path:
        identified = await pool.identify(path)
    return record_of(parts.settings.events.prefix, enriched_event(event, identified, parts.clock.now()))
