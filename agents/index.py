"""index: events become documents that people search.

Reads: every binary topic, and statuses, plugins and downloads.
Writes: documents under ids computed from the event, versioned by its time, so that doing it again or out
of order changes nothing.
Acknowledges: a batch when all its documents are durable; what the index can never take is parked.
"""

from __future__ import annotations

from functools import partial

import faust

from pipeline import metrics
from pipeline.app import Parts
from pipeline.errors import BadInput
from pipeline.events.codec import decode_stored
from pipeline.events.models import ACTIONS, Event
from pipeline.events.topics import binary_topic, model_of_topic, system_topic
from pipeline.index.documents import documents_of
from pipeline.index.port import Document
from pipeline.log.port import Record
from pipeline.log.transport.app import App
from pipeline.processing import Poison, park, patiently, poison

NAME = "index"
SYSTEM = ("expedite", "status", "plugin", "download")
BATCH_RECORDS = 500


def topics(parts: Parts) -> list[str]:
    """Name the topics this agent reads."""
    prefix = parts.settings.events.prefix
    by_source = [binary_topic(prefix, s, action) for s in parts.sources for action in ACTIONS]
    return [*by_source, *(system_topic(prefix, name) for name in SYSTEM)]


def attach(app: App, parts: Parts) -> None:
    """Add the agent to its Faust app."""

    @app.agent(app.source(*topics(parts)), name=NAME)
    async def index(stream: faust.StreamT) -> None:
        async for batch in stream.batches(max_records=BATCH_RECORDS):
            metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
            documents, unfit = _encode(parts, batch.records)
            refused = await patiently(
                NAME, partial(parts.index.put, [document for document, _ in documents])
            )
            metrics.AGENT_SENT.labels(NAME).inc(len(documents) - len(refused))
            reasons = {one.id: one.reason for one in refused}
            unfit += [Poison(r, "Refused", reasons[d.id]) for d, r in documents if d.id in reasons]
            await park(parts, NAME, unfit)
            batch.acknowledge()


def _documents(parts: Parts, event: Event | None) -> list[Document]:
    if event is None:
        return []
    return documents_of(
        event, sources=parts.sources, default_security=parts.settings.search.default_security
    )


def _encode(parts: Parts, records: list[Record]) -> tuple[list[tuple[Document, Record]], list[Poison]]:
    """Make the documents of a batch, each with the record it came from."""
    documents: list[tuple[Document, Record]] = []
    unfit: list[Poison] = []
    for record in records:
        try:
            event = decode_stored(model_of_topic(record.topic), record.value)
            documents += [(document, record) for document in _documents(parts, event)]
        except BadInput as error:
            unfit.append(poison(record, error))
    return documents, unfit
