"""inject: wherever a file turns up, the children people declared of it turn up too.

Reads: the topics of sourced, extracted and augmented events, and expedited ones; the insert topic, as a
whole and by itself in every worker (`pipeline.hub.inserts`).
Writes: the child's streams into the parent's source; one event for each child of each event.
Acknowledges: a batch when the events of all children are durable. An insert that was answered before its
parent was published is never missed: a batch is decided with everything that was on the insert topic after
the batch had been read. While nothing is declared no event is looked at.
"""

from __future__ import annotations

from functools import partial

import faust

from pipeline import metrics
from pipeline.app import Parts
from pipeline.errors import BadInput, NotFound
from pipeline.events.codec import decode_stored
from pipeline.events.models import InsertEvent
from pipeline.events.names import ACTIONS_WITH_CONTENT
from pipeline.events.produce import is_injectable
from pipeline.events.topics import EXPEDITE, binary_topic, system_topic
from pipeline.hub.deleted import Deleted
from pipeline.hub.injection import file_of, injected_event, injected_record, streams_of
from pipeline.hub.inserts import Inserts
from pipeline.log.port import NewRecord, Record
from pipeline.log.transport.app import App
from pipeline.log.transport.batch import Batch
from pipeline.objects.streams import copy_stream
from pipeline.processing import log, park, patiently, poison, publish

NAME = "inject"
BATCH_RECORDS = 5000
"""More than other agents take at once: what a batch costs is asking for the end of the insert topic."""


def topics(parts: Parts) -> list[str]:
    """Name the topics this agent reads: those of events children may follow."""
    prefix = parts.settings.events.prefix
    actions = sorted(ACTIONS_WITH_CONTENT)
    by_source = [binary_topic(prefix, source, action) for source in parts.sources for action in actions]
    return [*by_source, system_topic(prefix, EXPEDITE)]


def attach(app: App, parts: Parts, inserts: Inserts, deleted: Deleted) -> None:
    """Add the agent to its Faust app; whoever made the followers closes them."""

    @app.agent(app.source(*topics(parts)), name=NAME)
    async def inject(stream: faust.StreamT) -> None:
        async for batch in stream.batches(max_records=BATCH_RECORDS):
            metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
            await patiently(NAME, inserts.refresh)
            if len(inserts):
                await _follow_parents(parts, inserts, deleted, batch)
            batch.acknowledge()


async def _follow_parents(parts: Parts, inserts: Inserts, deleted: Deleted, batch: Batch) -> None:
    """Inject the children of every parent in a batch; what cannot be injected is parked."""
    parents = [record for record in batch.records if file_of(record) in inserts]
    if parents:
        await patiently(NAME, deleted.refresh)
    for record in parents:
        try:
            children = await _children(parts, inserts, deleted, record)
            if not batch.current:
                return  # whoever has the partition now does it
            await publish(parts, NAME, children)
        except (BadInput, NotFound) as error:
            await park(parts, NAME, [poison(record, error)])


async def _children(parts: Parts, inserts: Inserts, deleted: Deleted, record: Record) -> list[NewRecord]:
    """Make the records of a parent's children; their bytes are in the parent's source then."""
    parent = decode_stored("binary", record.value)
    if parent is None or not is_injectable(parent):
        return []
    children = []
    for insert in inserts.of(parent.entity.sha256):
        now = parts.clock.unix()
        child = injected_event(parent, insert, turned_up_ms=record.timestamp_ms, now_unix=now)
        if not deleted.cover(child):
            children.append(injected_record(parts.settings.events.prefix, child))
            await _copy_streams(parts, insert.event, parent.source.name)
    # A crash here leaves copies nobody names; the record comes again, and they are made again.
    return children


async def _copy_streams(parts: Parts, insert: InsertEvent, target: str) -> None:
    """Copy a child's streams to a source; one that is nowhere is logged and missing there too."""
    source = insert.entity.original_source
    if source == target:
        return
    for label, hashes in streams_of(insert):
        missing = []
        for sha256 in hashes:
            try:
                copy = partial(copy_stream, parts.objects, label, sha256, source=source, target=target)
                await patiently(NAME, copy)
            except (BadInput, NotFound) as error:
                missing.append(str(error))
        if len(missing) == len(hashes):
            log.warning("child without its bytes", agent=NAME, label=label, target=target, reason=missing)
