"""Children declared by people: the events that put them where their parents turn up.

Made from the parent's event and the insert alone, so that the same two give the same key, and the same
bytes as often as they are put together. Contract: dispatcher section 9, step 4.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec

from pipeline.errors import EventInvalid
from pipeline.events import validity
from pipeline.events.binary import BinaryEvent
from pipeline.events.insert import InsertEvent
from pipeline.events.produce import injected_child, without_spent_settings
from pipeline.events.records import completed, record_of
from pipeline.hub.inserts import Insert
from pipeline.log.port import NewRecord, Record

INJECTED_HEADER = "headrace-injected"
"""Marks the records of injected children: nothing is injected onto them, or two files that are declared
children of each other would call each other up without end."""


class _Entity(msgspec.Struct):
    sha256: str = ""


class _About(msgspec.Struct):
    entity: _Entity = msgspec.field(default_factory=_Entity)


_ABOUT = msgspec.json.Decoder(_About)


def file_of(record: Record) -> str:
    """Return the SHA-256 of the file a stored binary event is about.

    Empty for an injected child, a tombstone, and for what cannot be read: that is no parent, and agents
    that need all of the event park it.
    """
    if record.value is None or any(name == INJECTED_HEADER for name, _ in record.headers):
        return ""
    try:
        return _ABOUT.decode(record.value).entity.sha256
    except (ValueError, RecursionError):
        return ""


def injected_event(
    parent: BinaryEvent, insert: Insert, *, turned_up_ms: int, now_unix: float
) -> BinaryEvent:
    """Make the event of a child, with its key and tracking fields.

    Its time is when both were on the log: a later turning up of the parent, or a corrected insert, is newer
    for the index. `now_unix` bounds what senders with a wrong clock put there.

    Raises:
        EventInvalid: What the insert says of the child makes no valid event at this place.
    """
    moment_ms = min(max(turned_up_ms, insert.timestamp_ms, 0), int(now_unix * 1000))
    event = injected_child(parent, insert.event, dt.datetime.fromtimestamp(moment_ms / 1000, dt.UTC))
    reason = validity.fault(event)
    if reason is not None:
        entity = insert.event.entity
        raise EventInvalid(
            f"inject {entity.child.sha256[:64]!r} as child of {entity.parent_sha256[:64]!r}",
            reason,
            "publish the insert again, corrected, then replay this",
        )
    return completed(event)


def injected_record(prefix: str, child: BinaryEvent) -> NewRecord:
    """Make the record of an injected child.

    Raises:
        EventError, TooLarge: It cannot be stored.
    """
    record = record_of(prefix, without_spent_settings(child))
    return msgspec.structs.replace(record, headers=((INJECTED_HEADER, b"1"),))


def streams_of(insert: InsertEvent) -> Iterator[tuple[str, list[str]]]:
    """Yield the label of each stream of a child with the hashes it may lie under.

    The contract names the hash of the child; a stream that is not its content has one of its own.
    """
    entity = insert.entity
    for stream in entity.child.datastreams:
        hashes = dict.fromkeys((entity.child_history.sha256, stream.sha256))
        yield stream.label, [each for each in hashes if each]
