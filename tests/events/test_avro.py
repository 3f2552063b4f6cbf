"""Avro as the reference stores it: the same events, in its field order, or a clear refusal."""

from __future__ import annotations

import contextlib
import io

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import EventCorrupt, EventError, EventInvalid, EventOutdated
from pipeline.events import avro_schema
from pipeline.events.avro import decode_avro, decode_avro_bulk, encode_avro, encode_avro_bulk
from pipeline.events.codec import decode_posted, encode
from pipeline.events.models import (
    MODELS,
    Author,
    BinaryEntity,
    BinaryEvent,
    DeleteEntity,
    DeleteEvent,
    DeleteSubmission,
    Event,
)
from pipeline.events.names import Model
from pipeline.events.versions import upgraded
from tests.events.samples import BY_MODEL, body
from tests.events.strategies import any_event

EVENTS = st.sampled_from([m for m in MODELS if m != "delete"]).flatmap(
    lambda model: st.tuples(st.just(model), any_event(model))
)
ZERO_TIME = b"\xff\xff\xdd\xf2\xdf\xff\xdf\xdc\x01"
"""-62135596800000000 as a zig-zag varint."""


@given(EVENTS)
def test_any_event_survives_avro(pair: tuple[Model, Event]) -> None:
    model, event = pair
    assert decode_avro(model, encode_avro(event)) == event


@pytest.mark.parametrize("model", MODELS)
def test_an_event_is_the_same_from_avro_as_from_json(model: Model) -> None:
    (event,) = decode_posted(model, body(BY_MODEL[model])).events
    assert encode(decode_avro(model, encode_avro(event))) == encode(event)


@given(st.sampled_from(MODELS).flatmap(lambda m: st.tuples(st.just(m), st.lists(any_event(m), max_size=3))))
def test_a_bulk_holds_its_events_in_order(pair: tuple[Model, list[Event]]) -> None:
    model, events = pair
    decoded = decode_avro_bulk(model, encode_avro_bulk(model, events))
    assert [encode_avro(event) for event in decoded] == [encode_avro(event) for event in events]


def test_a_record_has_the_bytes_the_schema_of_the_contract_says() -> None:
    event = DeleteEvent(
        model_version=6,
        kafka_key="k",
        timestamp="1970-01-01T00:00:00.000001Z",
        author=Author(name="n", version="v", category="c", security="s"),
        entity=DeleteEntity(reason="r", submission=DeleteSubmission(track_source_references="t")),
        action="a",
    )
    head = b"\x0c" + b"\x02k" + b"\x02" + b"\x02n\x02v\x02c\x02s"
    entity = b"\x02r" + b"\x02t" + ZERO_TIME + b"\x00" + ZERO_TIME + b"\x00" + b"\x00"
    assert encode_avro(event) == head + entity + b"\x02a"
    assert decode_avro("delete", encode_avro(event)) == event


def test_sizes_are_eight_bytes_big_endian() -> None:
    event = BinaryEvent(model_version=6, entity=BinaryEntity(sha256="x", size=2**64 - 1))
    value = encode_avro(event)
    assert b"\xff" * 8 in value
    assert (
        encode_avro(BinaryEvent(model_version=6, entity=BinaryEntity(size=258))).count(b"\0\0\0\0\0\0\1\2")
        == 1
    )
    assert decode_avro("binary", value) == event


def test_info_is_carried_as_its_text() -> None:
    sample = body(BY_MODEL["binary"]).replace(
        b'"datastreams"', b'"info": {"a": 1.50, "b": "<"}, "datastreams"'
    )
    (event,) = decode_posted("binary", sample).events
    assert b'{"a":1.50,"b":"\\u003c"}' in encode_avro(event)


@pytest.mark.parametrize("model", MODELS)
def test_every_schema_is_one_avro_itself_accepts(model: Model) -> None:
    name = avro_schema.record_named(type(decode_posted(model, body(BY_MODEL[model])).events[0]))
    for spelled in (avro_schema.schema(name), avro_schema.bulk_schema(name)):
        parsed = fastavro.parse_schema(spelled)
        container = io.BytesIO()
        fastavro.writer(container, parsed, [])
        container.seek(0)
        assert list(fastavro.reader(container)) == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", EventCorrupt),
        (b"{}", EventCorrupt),
        (b"\x08", EventOutdated),
        (b"\x0a", EventOutdated),
        (b"\x0e", EventInvalid),
        (b"\x0c", EventCorrupt),
        (b"\x0c\x02", EventCorrupt),
        (b"\x0c\x01", EventCorrupt),
        (b"\x0c\x02\xff", EventCorrupt),
    ],
)
def test_what_is_not_version_6_is_refused(value: bytes, error: type[EventError]) -> None:
    with pytest.raises(error):
        decode_avro("binary", value)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("model", MODELS)
def test_older_versions_are_read_only_where_their_form_is_known(model: Model, version: int) -> None:
    (event,) = decode_posted(model, body(BY_MODEL[model])).events
    value = bytes([version * 2]) + encode_avro(event)[1:]
    if model in {"delete", "plugin", "retrohunt"}:
        assert decode_avro(model, value) == decode_avro(
            model, encode_avro(replace(event, model_version=version))
        )
        assert upgraded(decode_avro(model, value)) == decode_avro(model, encode_avro(event))
    else:
        with pytest.raises(EventOutdated, match=f"version is {version}"):
            decode_avro(model, value)


def test_bytes_left_over_are_refused() -> None:
    with pytest.raises(EventCorrupt):
        decode_avro("binary", encode_avro(BinaryEvent(model_version=6)) + b"\0")


@given(any_event("binary"), st.data())
def test_mutilated_records_never_raise_anything_but_an_event_error(
    event: Event, data: st.DataObject
) -> None:
    value = encode_avro(event)
    start = data.draw(st.integers(1, len(value)))
    end = data.draw(st.integers(start, len(value)))
    mutilated = value[:start] + data.draw(st.binary(max_size=6)) + value[end:]
    with contextlib.suppress(EventError):
        decode_avro("binary", mutilated)
