"""Events as bare Avro binary, the encoding of the reference, to read its topics and answer its tools.

What headrace stores is JSON (`pipeline.events.codec`); this is for exchange.
Contract: dispatcher section 6.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import fastavro
import msgspec

from pipeline.errors import EventCorrupt, EventInvalid, EventOutdated
from pipeline.events import forms, raw, times, validity
from pipeline.events.avro_schema import (
    BYTES,
    RECORDS,
    STRINGS,
    TIME,
    Fixed,
    Kind,
    Many,
    bulk_schema,
    readable_versions,
    record_named,
    schema,
)
from pipeline.events.codec import Posted, encode_as_posted, failure
from pipeline.events.models import STRUCTS, Event, model_named
from pipeline.events.names import CURRENT
from pipeline.events.shape import Part

_NUMBER_BYTES = 8
_UNUSED_WHEN_EMPTY = ("submission", "author", "link", "ids")
_Write = Callable[[Any], Any]


def encode_avro(event: Event) -> bytes:
    """Encode one event in normal form, as the reference stores it.

    Raises:
        EventCorrupt: A time in it cannot be read.
    """
    name = record_named(type(event))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(name, bulk=False), _plain(name, forms.normal(event)))
    return out.getvalue()


def encode_avro_bulk(model: str, events: Sequence[Event]) -> bytes:
    """Encode many events of one model in normal form, as the reference sends them.

    Raises:
        NotFound: No such model.
        EventCorrupt: A time in one cannot be read.
    """
    name = record_named(STRUCTS[model_named(model)])
    out = io.BytesIO()
    bulk = {"model_version": CURRENT, "events": [_plain(name, forms.normal(event)) for event in events]}
    fastavro.schemaless_writer(out, _parsed(name, bulk=True), bulk)
    return out.getvalue()


def decode_avro(model: str, value: bytes) -> Event:
    """Decode one event the reference stored.

    Raises:
        NotFound: No such model.
        EventCorrupt: It does not decode.
        EventOutdated: It was stored with a version whose field order is not known.
        EventInvalid: Its version is newer than ours.
    """
    name = record_named(STRUCTS[model_named(model)])
    event: Event = _struct(name, _read(name, value, bulk=False))
    return event


def decode_avro_bulk(model: str, value: bytes) -> list[Event]:
    """Decode many events of one model, as the tools of the reference post them.

    Raises:
        As `decode_avro`.
    """
    name = record_named(STRUCTS[model_named(model)])
    return [_struct(name, item) for item in _read(name, value, bulk=True)["events"]]


def decode_posted_bulk(
    model: str, body: bytes, fault: Callable[[Event], str | None] = validity.fault
) -> Posted:
    """Decode what a client posted as an Avro bulk; as `pipeline.events.codec.decode_posted` does for JSON.

    Raises:
        NotFound: No such model.
        EventCorrupt: It is JSON, it does not decode, or nothing is in it.
        EventOutdated: Its model version is too old.
        EventInvalid: Its model version is newer than ours.
    """
    if body[:1] in {b"[", b"{"}:
        raise EventCorrupt("decode posted events", "supplied events were in json format, not avro")
    try:
        events = decode_avro_bulk(model, body)
    except EventCorrupt as error:
        why = f"avro event did not match expected bulk schema: {error.why}"
        raise EventCorrupt("decode posted events", why) from error
    if not events:
        raise EventCorrupt("decode posted events", "there is no event in the bulk")
    posted = Posted([], [])
    for event in events:
        reason = fault(event)
        if reason is None:
            posted.events.append(event)
        else:
            posted.failures.append(failure(encode_as_posted(event), reason))
    return posted


@cache
def _parsed(record: str, *, bulk: bool) -> Any:
    return fastavro.parse_schema(bulk_schema(record) if bulk else schema(record))


def _read(record: str, value: bytes, *, bulk: bool) -> Any:
    _check_version(value, readable=(CURRENT,) if bulk else readable_versions(record))
    source = io.BytesIO(value)
    try:
        plain = fastavro.schemaless_reader(source, _parsed(record, bulk=bulk), None)
    except (ValueError, LookupError, EOFError, OverflowError, TypeError) as error:
        # What fastavro raises for bytes that are not the schema's depends on where they stop fitting.
        raise EventCorrupt(f"read an Avro {record}", str(error) or type(error).__name__) from error
    if source.read(1):
        raise EventCorrupt(f"read an Avro {record}", "bytes are left over after it")
    return plain


def _check_version(value: bytes, readable: Sequence[int]) -> None:
    """Look at the first number of the record, the model version, which says what schema wrote it."""
    version = value[0] >> 1 if value and not value[0] & 1 else -1
    if version in readable:
        return
    tried = "read an Avro event"
    if 0 <= version < CURRENT:
        known = ", ".join(map(str, readable))
        why = f"its model version is {version}; Avro of this model can be read from {known}"
        raise EventOutdated(tried, why, "upgrade it with the reference's reprocess command")
    if version > CURRENT:
        raise EventInvalid(tried, f"its model version is {version}, this program knows up to {CURRENT}")
    raise EventCorrupt(tried, "it does not begin with a model version")


def _plain(record: str, part: Part) -> dict[str, Any]:
    """Turn a struct into what the Avro writer takes."""
    return {name: _to_avro(kind, getattr(part, name)) for name, kind in RECORDS[record].fields}


def _to_avro(kind: Kind, value: Any) -> Any:
    match kind:
        case Fixed():
            return value.to_bytes(_NUMBER_BYTES, "big")
        case Many(record):
            return [_plain(record, item) for item in value]
        case str() if kind in RECORDS:
            return _plain(kind, RECORDS[kind].struct() if value is None else value)
        case _ if kind is TIME:
            return times.parse(value or times.ZERO)
        case _ if kind == BYTES:
            return b"" if value is msgspec.UNSET else bytes(value)
        case _:
            return list(value) if kind is STRINGS else value


def _struct(record: str, plain: dict[str, Any]) -> Any:
    """Turn what the Avro reader gives into a struct; what holds only defaults is made as if never set."""
    spec = RECORDS[record]
    fields = {name: _from_avro(kind, plain[name]) for name, kind in spec.fields}
    unset = {"timestamp", "direct_expiry"} if record.startswith(("DeleteEntity", "DownloadEntity")) else ()
    for name in unset:
        if fields.get(name) == times.ZERO:
            fields[name] = ""
    if record == "DeleteEntity":
        for name in _UNUSED_WHEN_EMPTY:
            fields[name] = None if fields[name] == type(fields[name])() else fields[name]
    if record == "RetrohuntEvent" and fields["entity"] is msgspec.UNSET:
        fields["entity"] = raw.NULL
    return spec.struct(**fields)


def _from_avro(kind: Kind, value: Any) -> Any:
    match kind:
        case Fixed():
            return int.from_bytes(value, "big")
        case Many(record):
            return tuple(_struct(record, item) for item in value)
        case str() if kind in RECORDS:
            return _struct(kind, value)
        case _ if kind is TIME:
            assert isinstance(value, dt.datetime)  # noqa: S101 - the logical type of the schema
            return times.text_of(value)
        case _ if kind == BYTES:
            return raw.compact(msgspec.Raw(value)) if value else msgspec.UNSET
        case _:
            return tuple(value) if kind is STRINGS else value
