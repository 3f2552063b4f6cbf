"""Events in their two forms: as posted, and normal.

`as_posted` is applied once to what clients send: every time is checked and brought to posted form, JSON of
others is compacted, empty things are made absent. `normal` is applied before an event is stored: every time
in normal form. Both return the very same object when there is nothing to change, which is the usual case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from pipeline.events import raw, times
from pipeline.events.binary import BinaryEntity, BinaryEvent
from pipeline.events.delete import DeleteEntity, DeleteEvent
from pipeline.events.download import DownloadEvent
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.parts import PathNode, Source
from pipeline.events.retrohunt import RetrohuntEvent
from pipeline.events.shape import Part
from pipeline.events.status import StatusEvent

E = TypeVar("E", bound=Event)
P = TypeVar("P", bound=Part)
_Form = Callable[[str], str]
_Raw = msgspec.Raw | msgspec.UnsetType


def as_posted(event: E) -> E:
    """Return an event as a client sent it, in posted form.

    Raises:
        EventCorrupt: A time or JSON in it cannot be read.
    """
    timed = _retimed(event, times.posted)
    change = _TIDY.get(type(event))
    return cast(E, change(timed)) if change else timed


def normal(event: E) -> E:
    """Return an event as it is stored.

    Raises:
        EventCorrupt: A time in it cannot be read.
    """
    return _retimed(event, times.normal)


def _with(part: P, **fields: Any) -> P:
    """Replace fields, unless all are the objects already there."""
    if all(getattr(part, name) is value for name, value in fields.items()):
        return part
    return replace(part, **fields)


def _retimed(event: E, form: _Form) -> E:
    if isinstance(event, BinaryEvent):
        return cast(E, _binary(event, form))
    fields: dict[str, Any] = {"timestamp": form(event.timestamp)}
    match event:
        case StatusEvent():
            entity = event.entity
            results = _each(entity.results, _binary, form)
            fields["entity"] = _with(entity, input=_binary(entity.input, form), results=results)
        case InsertEvent():
            history = _node(event.entity.child_history, form)
            fields["entity"] = _with(event.entity, child_history=history)
        case DownloadEvent():
            expiry = _optional(event.entity.direct_expiry, form)
            fields["entity"] = _with(event.entity, direct_expiry=expiry)
            fields["source"] = _source(event.source, form)
        case DeleteEvent():
            fields["entity"] = _deletion(event.entity, form)
        case RetrohuntEvent():
            fields["source"] = _with(event.source, timestamp=form(event.source.timestamp))
    return _with(event, **fields)


def _binary(event: BinaryEvent, form: _Form) -> BinaryEvent:
    timestamp = form(event.timestamp)
    source = _source(event.source, form)
    if timestamp is event.timestamp and source is event.source:
        return event
    return replace(event, timestamp=timestamp, source=source)


def _source(source: Source, form: _Form) -> Source:
    timestamp, path = form(source.timestamp), source.path
    for node in path:
        if form(node.timestamp) is not node.timestamp:
            path = tuple([_node(each, form) for each in path])
            break
    if timestamp is source.timestamp and path is source.path:
        return source
    return replace(source, timestamp=timestamp, path=path)


def _node(node: PathNode, form: _Form) -> PathNode:
    timestamp = form(node.timestamp)
    return node if timestamp is node.timestamp else replace(node, timestamp=timestamp)


def _each(parts: tuple[P, ...], change: Callable[[P, _Form], P], form: _Form) -> tuple[P, ...]:
    changed = [change(part, form) for part in parts]
    for before, after in zip(parts, changed, strict=True):
        if before is not after:
            return tuple(changed)
    return parts


def _optional(text: str, form: _Form) -> str:
    """Bring a time that may be unset to a form; the zero time is unset."""
    formed = form(text) if text else ""
    return "" if formed == times.ZERO else formed


def _deletion(entity: DeleteEntity, form: _Form) -> DeleteEntity:
    submission, author = entity.submission, entity.author
    if submission is not None:
        submission = _with(submission, timestamp=_optional(submission.timestamp, form))
    if author is not None:
        author = _with(author, timestamp=_optional(author.timestamp, form))
    return _with(entity, submission=submission, author=author)


def _tidy_binary(event: BinaryEvent) -> BinaryEvent:
    entity = _tidy_entity(event.entity)
    return event if entity is event.entity else replace(event, entity=entity)


def _tidy_entity(entity: BinaryEntity) -> BinaryEntity:
    if entity.info is msgspec.UNSET:
        return entity
    return replace(entity, info=_tidy_raw(entity.info))


def _tidy_raw(value: _Raw) -> _Raw:
    if isinstance(value, msgspec.UnsetType):
        return value
    value = raw.compact(value)
    return msgspec.UNSET if value == raw.NULL else value


def _tidy_status(event: StatusEvent) -> StatusEvent:
    entity = event.entity
    tidied = _with(
        entity,
        input=_tidy_binary(entity.input),
        results=_each(entity.results, lambda result, _: _tidy_binary(result), times.posted),
    )
    return _with(event, entity=tidied)


def _tidy_insert(event: InsertEvent) -> InsertEvent:
    return _with(event, entity=_with(event.entity, child=_tidy_entity(event.entity.child)))


def _tidy_download(event: DownloadEvent) -> DownloadEvent:
    return _with(event, entity=_with(event.entity, metadata=_tidy_raw(event.entity.metadata)))


def _tidy_retrohunt(event: RetrohuntEvent) -> RetrohuntEvent:
    return replace(event, entity=raw.compact(event.entity))


def _tidy_delete(event: DeleteEvent) -> DeleteEvent:
    entity = event.entity
    parts = {name: getattr(entity, name) for name in ("submission", "author", "link", "ids")}
    empty = {name: None for name, part in parts.items() if part is not None and part == type(part)()}
    return _with(event, entity=_with(entity, **empty))


_TIDY: dict[type, Callable[[Any], Event]] = {
    BinaryEvent: _tidy_binary,
    StatusEvent: _tidy_status,
    InsertEvent: _tidy_insert,
    DownloadEvent: _tidy_download,
    RetrohuntEvent: _tidy_retrohunt,
    DeleteEvent: _tidy_delete,
}
