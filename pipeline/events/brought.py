"""Stored events of another installation, brought up to date for this one.

Events come as any dispatcher stored them: our JSON, or Avro of the versions `pipeline.events.avro` reads.
They leave in today's form, with a key computed anew, for the topic where they belong now. Tracking fields
stay where there are any: they name hops by the times as they were posted, which the stored event no longer
has, and deletions name the same. Contract: dispatcher section 24.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from pipeline.errors import EventCorrupt
from pipeline.events import tolerant, versions
from pipeline.events.avro import decode_avro
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import encode
from pipeline.events.ids import with_key
from pipeline.events.insert import InsertEvent
from pipeline.events.models import STRUCTS, Event, model_named
from pipeline.events.names import CURRENT
from pipeline.events.topic_names import topic_of
from pipeline.events.tracking import with_tracking
from pipeline.log.port import NewRecord, Record

_JSON_STARTS = b"{"


def decode_any(model: str, value: bytes, *, legacy_json: bool = False) -> Event:
    """Decode a stored event, whatever it is encoded in, and upgrade it.

    Args:
        model: The one its topic holds.
        value: JSON, or bare Avro binary, whose first byte never begins JSON.
        legacy_json: Take JSON from before the first known version too, as far as it fits today's model.

    Raises:
        NotFound: No such model.
        EventCorrupt: It does not decode into its model.
        EventOutdated: Its version cannot be read.
        EventInvalid: Its version is newer than ours.
    """
    if value[:1] != _JSON_STARTS:
        return versions.upgraded(decode_avro(model, value))
    event = _from_json(model, value)
    if legacy_json and event.model_version < versions.OLDEST_STORED:
        event = replace(event, model_version=CURRENT)
    return versions.upgraded(event)


def _from_json(model: str, value: bytes) -> Event:
    struct = STRUCTS[model_named(model)]
    try:
        try:
            return msgspec.json.decode(value, type=struct)
        except ValueError:
            mended = tolerant.mended(value, opaque_entity=model == "retrohunt")
            return msgspec.json.decode(mended, type=struct)
    except (ValueError, RecursionError) as error:
        raise EventCorrupt(f"read a stored {model} event", str(error)) from error


def brought(prefix: str, record: Record, model: str, *, legacy_json: bool = False) -> NewRecord:
    """Make the record of this prefix that a record of another one becomes; headers and time stay.

    The same record always becomes the same one, so that bringing it twice changes nothing: where a key is
    random, the record's place stands in for chance.

    Raises:
        EventError: As `decode_any`; or a binary event without a path has no key.
        TooLarge: Its JSON is above the limit for one event.
    """

    def from_place(size_bytes: int) -> bytes:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        return hashlib.shake_256(place.encode()).digest(size_bytes)

    event = with_key(decode_any(model, record.value or b"", legacy_json=legacy_json), from_place)
    if not _is_tracked(event):
        event = with_tracking(event)
    return NewRecord(
        topic_of(prefix, event),
        event.kafka_key.encode(),
        encode(event),
        record.headers,
        timestamp_ms=record.timestamp_ms,
    )


def _is_tracked(event: Event) -> bool:
    match event:
        case BinaryEvent():
            return bool(event.track_source_references)
        case InsertEvent():
            return bool(event.track_link)
        case _:
            return True
