"""archive: every message of the chosen topics is kept for ever, as a BSON object and a row.

Reads: the topics of the moment (`agents.archiving`), from the setting `log` or another Kafka.
Writes: objects, then rows, under keys computed from the message, so that doing it again changes nothing
(`pipeline.archive.storing.keeper`); entries of parked messages, to Headrace's own log.
Acknowledges: a batch when all its objects and rows are durable; what can never be stored is parked.
"""

from __future__ import annotations

from collections.abc import Sequence

import faust

from pipeline import metrics
from pipeline.app import Parts
from pipeline.archive.outcome import Outcome
from pipeline.archive.source.topic_set import matching, unvetoed
from pipeline.archive.storing import parking
from pipeline.archive.storing.keeper import Keeper
from pipeline.errors import HeadraceError, Unavailable
from pipeline.identify.pool import ParserPool
from pipeline.log.port import Record
from pipeline.log.transport.app import App
from pipeline.processing import Poison, park, patiently

NAME = "archive"
JSON = "application/json"


def topics(parts: Parts) -> list[str]:
    """Name the topics of Headrace's own plan that the settings choose."""
    chosen = parts.settings.archive
    usual = (f"azul.{parts.settings.events.prefix}.*",)
    names = [spec.name for spec in parts.topics.specs]
    return unvetoed(matching(chosen.topics or usual, names), chosen.veto)


def attach(app: App, *, topics: Sequence[str], keeper: Keeper, parts: Parts) -> None:
    """Add the agent to its Faust app."""
    # Whatever it is, a keeper that failed takes no more: another app begins with another one.
    keeper.failed = lambda error: app.give_up(_as_ours(error))

    @app.agent(app.source(*topics), name=NAME)
    async def archive(stream: faust.StreamT) -> None:
        async for batch in stream.batches(max_records=parts.settings.archive.batch_records):
            metrics.AGENT_RECEIVED.labels(NAME).inc(len(batch.records))
            await keeper.take(batch)


def _as_ours(error: Exception) -> HeadraceError:
    return error if isinstance(error, HeadraceError) else Unavailable("archive messages", repr(error))


async def park_refused(parts: Parts, refused: Sequence[tuple[Record, Outcome]]) -> None:
    """Put messages aside that can never be stored: as every agent does, then a row for the archive.

    Durable when it returns; doing it again changes nothing.
    """
    await park(parts, NAME, [Poison(record, "Refused", outcome.reason) for record, outcome in refused])
    rows = [
        parking.parked_message(
            record,
            outcome.reason,
            agent=NAME,
            cluster=parts.settings.archive.cluster,
            parked_at=parts.clock.now(),
        )
        for record, outcome in refused
    ]
    await patiently(NAME, lambda: parking.add(parts.database, rows))


async def media_types(pool: ParserPool, blocks: Sequence[bytes]) -> list[str]:
    """Tell the types of payload starts. Events are JSON by construction; the rest goes to the parser."""
    others = [block for block in blocks if block[:1] != b"{"]
    told = iter(await pool.media_types(others) if others else ())
    return [JSON if block[:1] == b"{" else next(told) for block in blocks]
