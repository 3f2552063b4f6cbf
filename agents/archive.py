"""archive: every event of the chosen topics is kept for ever, as a BSON object and a row.

Reads: the topics the archive's globs choose and its veto list leaves (archive contract, section 3).
Writes: the object first, then the row; both under keys computed from the message, so that doing it again
changes nothing.
Acknowledges: a batch when all its objects and rows are durable; what can never be stored is parked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial

import faust

from pipeline import metrics
from pipeline.app import Parts
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.writer import ArchiveWriter
from pipeline.errors import BadInput
from pipeline.identify.pool import ParserPool
from pipeline.log.transport.app import App
from pipeline.objects.location import bucket_named
from pipeline.processing import Poison, park, patiently

NAME = "archive"
JSON = "application/json"


def topics(parts: Parts) -> list[str]:
    """Name the topics this agent reads."""
    chosen = parts.settings.archive
    names = [spec.name for spec in parts.topics.specs]
    wanted = chosen.topics or ("azul.*",)
    return [name for name in names if _any(wanted, name) and not _any(chosen.veto, name)]


def _any(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def make_writer(parts: Parts, pool: ParserPool) -> ArchiveWriter:
    """Make the writer the settings describe; `pool` tells the types of payloads that are no JSON."""
    settings = parts.settings.archive
    return ArchiveWriter(
        parts.objects,
        parts.database,
        clock=parts.clock,
        media_types=partial(_media_types, pool),
        prefix=settings.prefix,
        bucket=bucket_named(parts.settings.objects),
        cluster=settings.cluster,
        rule=settings.dedupe,
        concurrency=settings.concurrency,
    )


async def _media_types(pool: ParserPool, blocks: Sequence[bytes]) -> list[str]:
    """Tell the types of payload starts. Events are JSON by construction; the rest goes to the parser."""
    others = [block for block in blocks if block[:1] != b"{"]
    told = iter(await pool.media_types(others) if others else ())
    return [JSON if block[:1] == b"{" else next(told) for block in blocks]


def attach(app: App, parts: Parts, writer: ArchiveWriter) -> None:
    """Add the agent to its Faust app."""

    @app.agent(app.source(*topics(parts)), name=NAME)
    async def archive(stream: faust.StreamT) -> None:
        async for batch in stream.batches(max_records=parts.settings.archive.batch_records):
            metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
            messages = [Message.of(record) for record in batch.records]
            outcomes = await _store(writer, messages)
            stored = sum(outcome.stored for outcome in outcomes)
            metrics.AGENT_SENT.labels(NAME).inc(stored)
            refused = zip(batch.records, outcomes, strict=True)
            await park(parts, NAME, [Poison(r, "Refused", o.reason) for r, o in refused if o.refused])
            batch.acknowledge()


async def _store(writer: ArchiveWriter, messages: list[Message]) -> list[Outcome]:
    """Store messages; when the database cannot hold one of them, only that one is refused."""
    try:
        return await patiently(NAME, partial(writer.store, messages))
    except BadInput as error:
        if len(messages) == 1:
            return [Outcome("refused", str(error))]
    return [outcome for message in messages for outcome in await _store(writer, [message])]
