"""What happens to events between being posted and being written, as far as it needs nothing but the events.

The steps are the producer pipeline of the contract (dispatcher section 9); the hub runs them in that order
and adds those that need state. Events go in and come out in posted form.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from pipeline.events import times
from pipeline.events.binary import BinaryEvent, BinaryFlags
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.names import ACTIONS_WITH_CONTENT, COMPLETED, CURRENT, IN_PROGRESS
from pipeline.events.sources import SourceDefinition
from pipeline.events.status import StatusEvent

REMOVE_AT_DEPTH = "remove_at_depth"
"""The source setting that says from which path length on settings are dropped."""
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)


def is_aged_off(event: Event, sources: Mapping[str, SourceDefinition], now: dt.datetime) -> bool:
    """Say whether an event comes from a submission older than its source keeps.

    Looks at binary events and at statuses by their input; events of unknown sources are kept.
    """
    match event:
        case BinaryEvent():
            source = event.source
        case StatusEvent():
            source = event.entity.input.source
        case _:
            return False
    definition = sources.get(source.name)
    seconds = definition.expiry_seconds if definition else None
    return seconds is not None and (now - times.parse(source.timestamp)).total_seconds() > seconds


def finished_task(event: StatusEvent) -> str | None:
    """Return the dequeued id of the task this status ends, None when it ends none.

    Every status but a heartbeat and ``dequeued`` is final, unknown ones too.
    """
    return None if event.entity.status in IN_PROGRESS else event.entity.input.dequeued or None


class Split(NamedTuple):
    """A status without its results, and the results as events of their own."""

    status: StatusEvent
    results: tuple[BinaryEvent, ...]


def split_results(event: StatusEvent) -> Split:
    """Take the results out of a successful status; other statuses keep theirs.

    A result inherits `expedite` and `bypass_cache` of the input's flags, never `retry`.
    """
    entity = event.entity
    if entity.status not in COMPLETED:
        return Split(event, ())
    given = entity.input.flags
    flags = BinaryFlags(expedite=given.expedite, bypass_cache=given.bypass_cache)
    results = tuple(replace(result, flags=flags, model_version=CURRENT) for result in entity.results)
    return Split(replace(event, entity=replace(entity, results=())), results)


def is_injectable(event: BinaryEvent) -> bool:
    """Say whether children declared by people may follow this event: it is where its binary turns up."""
    path = event.source.path
    moved = len(path) < len(("parent", "child")) or path[-1].sha256 != path[-2].sha256
    return event.action in ACTIONS_WITH_CONTENT and moved


def injected_child(parent: BinaryEvent, insert: InsertEvent, now: dt.datetime) -> BinaryEvent:
    """Make the event of a declared child where its parent turned up.

    The child's bytes must be in the parent's source before it is published.
    """
    history = insert.entity.child_history
    return BinaryEvent(
        model_version=CURRENT,
        timestamp=times.text_of(now),
        author=history.author,
        source=replace(parent.source, path=(*parent.source.path, history)),
        entity=insert.entity.child,
        action=history.action,
    )


def without_spent_settings(event: BinaryEvent) -> BinaryEvent:
    """Drop the source settings once the path is as long as they are meant to reach.

    To be done after the key was computed, because settings are part of it.
    """
    depth = event.source.settings.get(REMOVE_AT_DEPTH, "")
    if not _WHOLE_NUMBER.fullmatch(depth) or len(event.source.path) < int(depth):
        return event
    return replace(event, source=replace(event.source, settings={}))


def slim(event: BinaryEvent) -> BinaryEvent:
    """Return the event without features, datastreams and info: what statuses carry of a task."""
    entity = replace(event.entity, features=(), datastreams=(), info=msgspec.UNSET)
    return replace(event, entity=entity)
