"""From what a function said to events: their paths, their entities, their size.

One enriched event with the features and the info, one augmented event with the derived streams, one
extracted event for each child. Contract: dispatcher sections 4.1, 4.2, 26.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from headrace.job import Child, Derived, Job
from pipeline.errors import BadInput
from pipeline.events import raw, times
from pipeline.events.binary import BinaryEntity, BinaryEvent
from pipeline.events.codec import encode
from pipeline.events.names import AUGMENTED, CONTENT, CURRENT, ENRICHED, EXTRACTED
from pipeline.events.parts import Datastream, PathNode
from pipeline.events.records import completed


class _Moment(NamedTuple):
    job: Job
    time: str


def events_of(job: Job, stored: Mapping[Derived, Datastream], now: dt.datetime) -> tuple[BinaryEvent, ...]:
    """Make the events that say what the job found; none when it found nothing. Blocks.

    Args:
        job: Closed.
        stored: What is known about the bytes it made; they are durable.
        now: When.

    Raises:
        TooLarge: One of them is above the limit for an event.
        BadInput: There is a derived stream, and the event named no content to go with it.
    """
    moment = _Moment(job, times.text_of(now))
    events: list[BinaryEvent] = []
    if job.features.all() or job.information:
        events.append(_enriched(moment))
    if job.streams:
        events.append(_augmented(moment, [stored[stream] for stream in job.streams]))
    events += (_extracted(moment, child, stored[child]) for child in job.children)
    for event in events:
        encode(completed(event))  # what is stored has these fields too, and counts for the limit
    return tuple(events)


def _enriched(moment: _Moment) -> BinaryEvent:
    job = moment.job
    info = raw.of(job.information) if job.information else msgspec.UNSET
    entity = replace(job.event.entity, features=job.features.all(), datastreams=(), info=info)
    return _event(moment, ENRICHED, entity, _same_file(moment, ENRICHED))


def _augmented(moment: _Moment, made: Sequence[Datastream]) -> BinaryEvent:
    given = moment.job.event.entity
    content = tuple(stream for stream in given.datastreams if stream.label == CONTENT)
    if not content:
        raise BadInput(f"augment {given.sha256}", "its event names no content", "add features or info only")
    entity = replace(given, features=(), datastreams=(*content, *made), info=msgspec.UNSET)
    return _event(moment, AUGMENTED, entity, _same_file(moment, AUGMENTED))


def _extracted(moment: _Moment, child: Child, stored: Datastream) -> BinaryEvent:
    shared = set(BinaryEntity.__struct_fields__) & set(Datastream.__struct_fields__)
    entity = BinaryEntity(
        **{name: getattr(stored, name) for name in shared},
        features=child.features.all(),
        datastreams=(stored,),
    )
    node = PathNode(
        author=moment.job.plugin.author,
        action=EXTRACTED,
        sha256=stored.sha256,
        relationship=child.relationship,
        timestamp=moment.time,
        file_format=stored.file_format,
        size=stored.size,
        filename=child.filename,
        language=child.language,
    )
    return _event(moment, EXTRACTED, entity, node)


def _same_file(moment: _Moment, action: str) -> PathNode:
    """Make the hop of an event about the very file of the job."""
    job = moment.job
    return PathNode(
        author=job.plugin.author,
        action=action,
        sha256=job.sha256,
        timestamp=moment.time,
        file_format=job.file_format,
        size=job.size_bytes,
        filename=job.filename,
    )


def _event(moment: _Moment, action: str, entity: BinaryEntity, node: PathNode) -> BinaryEvent:
    job = moment.job
    return BinaryEvent(
        model_version=CURRENT,
        timestamp=moment.time,
        author=job.plugin.author,
        source=replace(job.event.source, path=(*_way_here(job.event), node)),
        entity=entity,
        action=action,
    )


def _way_here(event: BinaryEvent) -> Iterator[PathNode]:
    """Give the hops up to the file: an enriched one may only be the last of its path."""
    return (node for node in event.source.path if node.action != ENRICHED)
