"""From events taken for a consumer to what it is given; tasks get their ids and are tracked first.

Contract: dispatcher sections 5.2, 12 (step 8), 13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from pipeline.errors import EventError
from pipeline.events.codec import decode_stored, encode_as_posted
from pipeline.events.ids import dequeued_id, task_key
from pipeline.events.models import BinaryEvent, Event, Model
from pipeline.events.task import TaskEvent
from pipeline.hub.fetch.taking import Taken
from pipeline.hub.retries import task_record
from pipeline.log.port import NewRecord

_log = structlog.get_logger(__name__)
_NO_FIELD = b"{ \t\r\n"
"""What stands before the last brace of JSON that has no field there."""


def as_given(model: Model, taken: Sequence[Taken]) -> list[bytes]:
    """Return events as a consumer that owes nothing receives them: JSON of the current version.

    What turns out to be unreadable is left out.
    """
    given = (each.value if each.glance.current else _upgraded(model, each.value) for each in taken)
    return [event for event in given if event is not None]


class Tasks(NamedTuple):
    """Events with their dequeued ids, and the records that must be durable before a plugin sees them."""

    events: list[bytes]
    records: list[NewRecord]


class Worker(NamedTuple):
    """Who is given tasks."""

    plugin: str
    version: str
    consumer_key: str


def as_tasks(prefix: str, worker: Worker, taken: Sequence[Taken], now_unix: float) -> Tasks:
    """Make tasks of events for one plugin; each notes the id it goes out under.

    An event that comes back, from the log or because an answer did not reach its client, names the try
    before, so that all its tries are one task. What turns out to be unreadable is left out.
    """
    events, records = [], []
    for each in taken:
        dequeued = dequeued_id(each.glance.kafka_key, worker.plugin, worker.version, now_unix)
        previous = each.dequeued or (each.glance.dequeued if each.retry else "")
        made = _with_id(each, dequeued)
        if made is None:
            continue
        event, attempt = made
        told = TaskEvent(
            kind="dequeued",
            dequeued=dequeued,
            task=task_key(dequeued),
            timestamp=now_unix,
            plugin=worker.plugin,
            version=worker.version,
            consumer_key=worker.consumer_key,
            attempt=attempt,
            previous=previous if previous not in {"", dequeued} else None,
            event=msgspec.Raw(event),
        )
        each.dequeued = dequeued
        events.append(event)
        records.append(task_record(prefix, told))
    return Tasks(events, records)


def _with_id(taken: Taken, dequeued: str) -> tuple[bytes, int] | None:
    """Return the event with its id, and how many tries it had before."""
    glance, value = taken.glance, taken.value
    appendable = value[-1:] == b"}" and value[-2:-1] not in _NO_FIELD
    if glance.current and not glance.dequeued and not taken.retry and appendable:
        # One more field goes before the last brace.
        return b'%b,"dequeued":%b}' % (value[:-1], msgspec.json.encode(dequeued)), 0
    event = _read("binary", value)
    if not isinstance(event, BinaryEvent):
        return None
    # As it is on the topic but for the id, which must not make it too large.
    return encode_as_posted(replace(event, dequeued=dequeued)), event.retries if taken.retry else 0


def _upgraded(model: Model, value: bytes) -> bytes | None:
    event = _read(model, value)
    return None if event is None else encode_as_posted(event)


def _read(model: Model, value: bytes) -> Event | None:
    """Decode all of an event; None when only what the hub looks at can be read."""
    try:
        return decode_stored(model, value)
    except EventError as error:
        _log.debug("an event cannot be handed out", reason=str(error))
        return None
