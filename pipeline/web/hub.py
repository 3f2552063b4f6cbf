"""The hub behind the routes: what hands out, made from the parts of the process."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import limits
from pipeline.app import Parts
from pipeline.events.security import Security
from pipeline.events.security_labels import labels_of
from pipeline.events.topics import HUB, system_topic
from pipeline.hub.changelogs import app_id
from pipeline.hub.completions import Completions
from pipeline.hub.deleted import Deleted
from pipeline.hub.fetch.duplicates import Duplicates, Seen
from pipeline.hub.fetch.feeds import Feeds
from pipeline.hub.fetch.gates import EndedTasks, Expressions, Gate
from pipeline.hub.fetch.handout import HandOut
from pipeline.hub.fetch.replay import Replay
from pipeline.hub.notices import Notices
from pipeline.hub.publish import Publisher
from pipeline.log.location import make_shares
from pipeline.settings import Settings
from pipeline.web.hub_sharing import Sharing
from pipeline.web.tables import Tables


def make_sharing(
    parts: Parts,
    *,
    notices: Notices,
    deleted: Deleted,
    tables: Tables,
    gates: Sequence[Gate],
) -> Sharing:
    """Make what answers fetches. Start it once its address is known; close what it is given after it."""

    async def in_flight(dequeued: str) -> bool:
        await tables.refresh()
        task = await tables.task(dequeued)
        return task is not None and task.dequeued == dequeued

    hub = parts.settings.hub
    prefix = parts.settings.events.prefix
    handout = HandOut(
        parts.log,
        prefix=prefix,
        feeds=Feeds(parts.log, sources=parts.sources, clock=parts.clock, cache_bytes=hub.cache_bytes),
        notices=notices,
        deleted=deleted,
        clock=parts.clock,
        can_read=_security(parts.settings).can_access,
        gates=(Expressions(), EndedTasks(in_flight), *gates),
        min_wait_seconds=hub.min_wait_seconds,
    )
    shares = make_shares(
        parts.settings,
        parts.clock,
        topic=system_topic(prefix, HUB),
        group=app_id(prefix, HUB),
        count=limits.HUB_SHARES,
    )
    return Sharing(handout, notices, shares, parts.clock)


def make_completions(parts: Parts) -> Completions:
    """Make what remembers completed statuses, by the settings."""
    hub = parts.settings.hub
    return Completions(
        parts.log,
        parts.settings.events.prefix,
        parts.clock,
        max_bytes=hub.replay_bytes,
        min_runtime_seconds=hub.replay_min_runtime_seconds,
        keep_seconds=hub.replay_seconds,
    )


def make_gates(parts: Parts, publisher: Publisher, completions: Completions) -> list[Gate]:
    """Make the gates that the settings switch on; whoever hands out closes them."""
    gates: list[Gate] = []
    if size_bytes := parts.settings.hub.dedupe_bytes:
        seen = Seen(parts.log, parts.settings.events.prefix, parts.clock, size_bytes=size_bytes)
        gates.append(Duplicates(seen))
    if completions.on:
        gates.append(Replay(completions, publisher=publisher, objects=parts.objects, clock=parts.clock))
    return gates


def _security(settings: Settings) -> Security:
    security = settings.security
    labels = labels_of(security.labels.model_dump())
    return Security(labels, releasable_from=security.allow_releasability_priority_gte)
