"""Which decoded events are valid: one rule a line, in the contract's order.

The first rule broken gives the reason; a valid event gives none. Contract: dispatcher section 4, under each
model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.errors import EventInvalid
from pipeline.events.binary import BinaryEntity, BinaryEvent
from pipeline.events.delete import DeleteEvent
from pipeline.events.download import DownloadEvent
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.names import (
    ACTIONS,
    ACTIONS_WITH_CONTENT,
    AUGMENTED,
    CONTENT,
    DOWNLOAD_ACTIONS,
    ENRICHED,
    LABELS,
    MAPPED,
)
from pipeline.events.parts import Author, PathNode, Source
from pipeline.events.plugin import PluginEvent
from pipeline.events.retrohunt import RetrohuntEvent
from pipeline.events.shape import UINT64_MAX
from pipeline.events.status import StatusEvent

_NO_AUTHOR = "event is missing 'author' field"


def fault(event: Event) -> str | None:
    """Return the first rule the event breaks, None when it is valid."""
    return _FAULTS[type(event)](event)


def check(event: Event) -> None:
    """Accept a valid event.

    Raises:
        EventInvalid: It breaks a rule of its model.
    """
    reason = fault(event)
    if reason is not None:
        raise EventInvalid("check an event", reason, "correct the event")


def _binary(event: BinaryEvent) -> str | None:
    if not event.author.name:
        return _NO_AUTHOR
    if not event.action:
        return "event is missing 'action' field"
    if not event.source.path:
        return "event is missing 'source.path' field"
    return _source(event.source) or _entity(event.entity) or _action(event) or _enriched_only_last(event)


def _source(source: Source) -> str | None:
    if not source.name:
        return "event is missing 'source.name' field"
    for index, node in enumerate(source.path):
        reason = _node(node)
        if reason:
            return f"source.path[{index}]: {reason}"
    return None


def _node(node: PathNode) -> str | None:
    if not node.sha256:
        return "node is missing 'sha256' field"
    if not node.action:
        return "node is missing 'action' field"
    if node.action not in ACTIONS:
        return f"node has an unknown 'action': {node.action[:64]!r}"
    if not node.author.name:
        return "node is missing 'author.name' field"
    if node.size > UINT64_MAX:
        return "node has a 'size' above 64 bits"
    return None


def _entity(entity: BinaryEntity) -> str | None:
    for stream in entity.datastreams:
        if stream.label not in LABELS:
            return f"event has a datastream with an unknown label: {stream.label[:64]!r}"
        if stream.size > UINT64_MAX:
            return "event has a datastream size above 64 bits"
    if entity.size > UINT64_MAX:
        return "event has a size above 64 bits"
    for feature in entity.features:
        if feature.size > UINT64_MAX or feature.offset > UINT64_MAX:
            return "event has a feature with a size or offset above 64 bits"
    return None


def _action(event: BinaryEvent) -> str | None:
    action = event.action
    if action not in ACTIONS:
        return f"event has an unknown 'action': {action[:64]!r}"
    streams = event.entity.datastreams
    if action == ENRICHED:
        return "enriched event must not have datastreams" if streams else None
    labels = {stream.label for stream in streams}
    if action == MAPPED and CONTENT in labels:
        return "mapped event must not have a content datastream"
    if action in ACTIONS_WITH_CONTENT and CONTENT not in labels:
        return f"{action} event must have a content datastream"
    if action == AUGMENTED and len(labels) < len((CONTENT, "another")):
        return "augmented event must have a datastream besides content"
    return None


def _enriched_only_last(event: BinaryEvent) -> str | None:
    if any(node.action == ENRICHED for node in event.source.path[:-1]):
        return "event has an enriched node in its path before the last"
    return None


def _status(event: StatusEvent) -> str | None:
    if not event.author.name:
        return _NO_AUTHOR
    if not event.entity.input.dequeued:
        return "event is missing 'entity.input.dequeued' field"
    for index, result in enumerate(event.entity.results):
        reason = _binary(result)
        if reason:
            return f"entity.results[{index}]: {reason}"
    return None


def _insert(event: InsertEvent) -> str | None:
    if not event.author.name:
        return _NO_AUTHOR
    reason = _entity(event.entity.child)
    if reason:
        return reason
    if not event.entity.parent_sha256:
        return "event is missing 'entity.parent_sha256' field"
    return _history(event.entity.child_history)


def _history(node: PathNode) -> str | None:
    values = (("sha256", node.sha256), ("action", node.action), ("author.name", node.author.name))
    for name, value in values:
        if not value:
            return f"event is missing 'entity.child_history.{name}' field"
    if node.size > UINT64_MAX:
        return "event has an 'entity.child_history.size' above 64 bits"
    return None


def _download(event: DownloadEvent) -> str | None:
    if not event.author.name:
        return _NO_AUTHOR
    if event.action not in DOWNLOAD_ACTIONS:
        return f"event has an unknown 'action': {event.action[:64]!r}"
    return _source(event.source)


def _authored(event: DeleteEvent | PluginEvent | RetrohuntEvent) -> str | None:
    author: Author = event.author
    return None if author.name else _NO_AUTHOR


_FAULTS: dict[type[Event], Callable[[Any], str | None]] = {
    BinaryEvent: _binary,
    StatusEvent: _status,
    InsertEvent: _insert,
    DownloadEvent: _download,
    DeleteEvent: _authored,
    PluginEvent: _authored,
    RetrohuntEvent: _authored,
}
