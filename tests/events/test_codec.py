"""Decoding what is posted and what is stored: what fails alone, what refuses all, what never raises."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline import limits
from pipeline.errors import EventCorrupt, EventError, EventInvalid, EventOutdated, NotFound, TooLarge
from pipeline.events.codec import Posted, decode_posted, decode_stored, encode, encode_as_posted
from pipeline.events.models import (
    MODELS,
    BinaryEvent,
    DeleteEvent,
    DownloadEvent,
    Event,
    RetrohuntEvent,
    StatusEvent,
)
from pipeline.events.names import Model
from pipeline.events.records import completed
from tests.events import samples
from tests.events.samples import BINARY, BY_MODEL, body, changed, without
from tests.events.strategies import VALID_BINARIES, any_event
from tests.events.tables import MODEL_TABLES, breaches, with_strangers
from tests.events.test_keys import never

EVENTS = st.sampled_from(MODELS).flatmap(lambda model: st.tuples(st.just(model), any_event(model)))


def only(posted: Posted) -> Event:
    """Return the one event of a request in which nothing failed."""
    assert posted.failures == []
    (event,) = posted.events
    return event


def test_the_published_event_of_the_contract_comes_back_to_the_byte() -> None:
    request = b"""[{"model_version":6,"kafka_key":"tmp","timestamp":"2026-11-01T10:20:30.123456+00:00",
      "action":"enriched","author":{"name":"p"},
      "source":{"name":"testing","timestamp":"2026-01-01T00:00:00Z",
        "path":[{"sha256":"q","action":"enriched","author":{"name":"p"},"timestamp":"2026-01-01T00:00:00Z"}]},
      "entity":{"sha256":"q","info":{"a": 1.50}}}]"""
    event = completed(only(decode_posted("binary", request)), never)
    assert encode_as_posted(event).decode() == (
        '{"model_version":6,"kafka_key":"a016528e3fee225dd6c1693fb67376ea",'
        '"timestamp":"2026-11-01T10:20:30.123456Z","author":{"name":"p"},"source":{"name":"testing",'
        '"path":[{"author":{"name":"p"},"action":"enriched","sha256":"q","timestamp":"2026-01-01T00:00:00Z"}],'
        '"timestamp":"2026-01-01T00:00:00Z"},"entity":{"sha256":"q","info":{"a":1.50}},"action":"enriched",'
        '"flags":{},"track_source_references":"testing.d41d8cd98f00b204e9800998ecf8427e",'
        '"track_authors":[".p."]}'
    )


def test_the_answer_keeps_posted_times_and_the_stored_event_does_not() -> None:
    nodes = [
        {**samples.NODE, "sha256": "1"},
        {**samples.NODE, "sha256": "1c", "timestamp": "2026-11-01T10:20:30.5+05:30"},
    ]
    sample = changed(BINARY, "source.path", nodes)
    sample = changed(sample, "timestamp", "2026-11-01T10:20:30.123456789Z")
    event = completed(only(decode_posted("binary", body(sample))), never)
    answer, stored = json.loads(encode_as_posted(event)), json.loads(encode(event))
    assert answer["timestamp"] == "2026-11-01T10:20:30.123456789Z"
    assert answer["source"]["path"][1]["timestamp"] == "2026-11-01T10:20:30.5+05:30"
    assert stored["timestamp"] == "2026-11-01T10:20:30.123456Z"
    assert stored["source"]["path"][1]["timestamp"] == "2026-11-01T04:50:30.5Z"
    assert stored["track_links"] == ["1.1c.2026_11_01T10_20_30+05_00.user.bob."]
    assert stored["kafka_key"] == answer["kafka_key"]


@given(EVENTS)
def test_any_event_survives_being_stored(pair: tuple[Model, Event]) -> None:
    model, event = pair
    assert decode_stored(model, encode(event)) == event


@given(st.lists(VALID_BINARIES, min_size=1, max_size=4))
def test_valid_events_survive_being_posted_in_order(events: list[BinaryEvent]) -> None:
    request = b" \n[" + b" , ".join(encode_as_posted(event) for event in events) + b"]\r\n"
    assert decode_posted("binary", request) == (events, [])


@given(EVENTS)
def test_a_strict_client_never_sees_a_field_that_is_not_in_the_tables(pair: tuple[Model, Event]) -> None:
    model, event = pair
    assert breaches(json.loads(encode(event)), MODEL_TABLES[model]) == []


@pytest.mark.parametrize("model", MODELS)
def test_fields_not_marked_optional_are_written_even_when_never_set(model: Model) -> None:
    event = decode_stored(model, b'{"model_version":6}')
    assert event is not None
    assert breaches(json.loads(encode(event)), MODEL_TABLES[model]) == []


@given(EVENTS)
def test_fields_nobody_knows_are_ignored_and_lost(pair: tuple[Model, Event]) -> None:
    model, event = pair
    strange = with_strangers(json.loads(encode(event)), MODEL_TABLES[model])
    decoded = decode_stored(model, json.dumps(strange).encode())
    assert decoded is not None
    assert breaches(json.loads(encode(decoded)), MODEL_TABLES[model]) == []
    assert _without_opaque(decoded) == _without_opaque(event)


def _without_opaque(event: Event) -> Any:
    """Decode an event once more, so that the spelling of opaque JSON does not matter."""
    return json.loads(encode(event))


@pytest.mark.parametrize("model", MODELS)
def test_one_object_and_a_list_of_it_are_the_same_request(model: Model) -> None:
    sample = json.dumps(BY_MODEL[model]).encode()
    event = only(decode_posted(model, sample))
    assert only(decode_posted(model, b"[" + sample + b"]")) == event
    assert only(decode_posted(model, b"\n\t [ " + sample + b" ] \n")) == event


@pytest.mark.parametrize("request_body", [b"", b"  ", b"[]", b"{}", b" [] ", b"null", b"1", b'"text"'])
def test_a_request_without_an_event_is_refused(request_body: bytes) -> None:
    with pytest.raises(EventError):
        decode_posted("binary", request_body)


@pytest.mark.parametrize(
    "broken",
    [
        b"{" * 50,
        b'[{"model_version":6}',
        b"[" * 100_000 + b"]" * 100_000,
        b"\xef\xbb\xbf{}",
        b"\x00\x01\x02\x03",
        body(BINARY)[:-3],
        body(BINARY) + b"x",
    ],
)
def test_what_is_not_json_is_refused(broken: bytes) -> None:
    with pytest.raises(EventCorrupt):
        decode_posted("binary", broken)


@pytest.mark.parametrize(
    "broken",
    [
        changed(BINARY, "entity.size", "3"),
        changed(BINARY, "entity.size", -3),
        changed(BINARY, "entity.size", 1.5),
        changed(BINARY, "retries", 2**32),
        changed(BINARY, "source.path", {}),
        changed(BINARY, "source.references", {"a": 1}),
        changed(BINARY, "author", "bob"),
        changed(BINARY, "flags", []),
        changed(BINARY, "timestamp", "yesterday"),
        changed(BINARY, "source.path.0.timestamp", 5),
        changed(BINARY, "source.timestamp", "2026-02-30T00:00:00Z"),
    ],
)
def test_one_undecodable_event_refuses_the_whole_request(broken: dict[str, Any]) -> None:
    assert len(decode_posted("binary", body(BINARY, BINARY)).events) == 2
    with pytest.raises(EventCorrupt):
        decode_posted("binary", body(BINARY, broken, BINARY))


def test_one_outdated_event_refuses_the_whole_request() -> None:
    for old in (changed(BINARY, "model_version", 5), without(BINARY, "model_version")):
        with pytest.raises(EventOutdated):
            decode_posted("binary", body(BINARY, old))


def test_a_version_from_the_future_refuses_the_whole_request() -> None:
    with pytest.raises(EventInvalid):
        decode_posted("binary", body(BINARY, changed(BINARY, "model_version", 7)))


def test_an_unknown_model_is_not_an_event_error() -> None:
    with pytest.raises(NotFound):
        decode_posted("binaries", body(BINARY))
    with pytest.raises(NotFound):
        decode_stored("bulk", b"{}")


def test_an_invalid_event_fails_alone_and_comes_back_as_it_was_posted() -> None:
    bad = '{"model_version": 6,  "timestamp": "2026-11-01T10:20:30Z"}'
    posted = decode_posted("binary", f"[{json.dumps(BINARY)}, {bad} ,{json.dumps(BINARY)}]".encode())
    assert len(posted.events) == 2
    (failure,) = posted.failures
    assert failure.event == bad
    assert failure.error == "innerNewMsgInFlight event is missing 'author' field"


def test_a_request_of_one_invalid_object_is_no_error_but_has_no_events() -> None:
    posted = decode_posted("binary", json.dumps(without(BINARY, "author")).encode())
    assert posted.events == []
    assert json.loads(posted.failures[0].event) == without(BINARY, "author")


@pytest.mark.parametrize("model", MODELS)
def test_null_means_not_given_wherever_it_stands(model: Model) -> None:
    sample = {**BY_MODEL[model], "kafka_key": None}
    assert only(decode_posted(model, body(sample))) == only(
        decode_posted(model, body(without(sample, "kafka_key")))
    )


def test_a_null_path_is_an_empty_path() -> None:
    download = changed(BY_MODEL["download"], "source.path", None)
    assert b'"path":[]' in encode(only(decode_posted("download", body(download))))
    binary = decode_posted("binary", body(changed(BINARY, "source.path", None)))
    assert "source.path" in binary.failures[0].error


def test_null_inside_json_of_others_is_theirs() -> None:
    sample = {**changed(BINARY, "entity.info", {"a": None}), "dequeued": None}
    assert b'"info":{"a":null}' in encode(only(decode_posted("binary", body(sample))))
    hunt = {**changed(BY_MODEL["retrohunt"], "entity", {"a": None}), "action": None}
    assert b'"entity":{"a":null}' in encode(only(decode_posted("retrohunt", body(hunt))))


def test_null_info_is_no_info() -> None:
    assert b"info" not in encode(only(decode_posted("binary", body(changed(BINARY, "entity.info", None)))))


@pytest.mark.parametrize("name", [b"\\udc80", b"\\uD800x", b"\xff", b"\xed\xb0\x80"])
def test_a_file_name_that_is_not_unicode_is_mended_like_the_reference_does(name: bytes) -> None:
    sample = json.dumps(changed(BINARY, "source.path.0.filename", "NAME")).encode().replace(b"NAME", name)
    event = only(decode_posted("binary", sample))
    assert isinstance(event, BinaryEvent)
    assert "\ufffd" in event.source.path[0].filename


def test_an_invalid_event_that_had_to_be_mended_is_still_reported() -> None:
    sample = json.dumps(changed(without(BINARY, "author"), "dequeued", "NAME")).replace("NAME", "\\udc80")
    (failure,) = decode_posted("binary", sample.encode()).failures
    assert json.loads(failure.event)["dequeued"] == "\ufffd"


def test_a_pair_of_surrogates_and_an_escaped_backslash_are_not_mended() -> None:
    text = '{"a": "\\\\ud800 \\ud83d\\ude00", "bad": "\\udc00"}'
    sample = json.dumps(changed(BINARY, "source.references", "HERE")).replace('"HERE"', text)
    event = only(decode_posted("binary", sample.encode()))
    assert isinstance(event, BinaryEvent)
    assert event.source.references == {"a": "\\ud800 \N{GRINNING FACE}", "bad": "\ufffd"}


def test_info_that_is_not_unicode_never_reaches_a_topic() -> None:
    sample = json.dumps(changed(BINARY, "entity.info", "HERE")).encode().replace(b"HERE", b"\xff")
    with pytest.raises(EventCorrupt):
        decode_posted("binary", sample)


def test_number_spellings_of_info_survive_the_whole_way() -> None:
    text = '{"a": 1.50, "b": 100000000000000000000000, "c": "<b>&"}'
    sample = json.dumps(changed(BINARY, "entity.info", "HERE")).replace('"HERE"', text)
    value = encode(only(decode_posted("binary", sample.encode())))
    expected = b'{"a":1.50,"b":100000000000000000000000,"c":"\\u003cb\\u003e\\u0026"}'
    assert b'"info":' + expected in value
    again = decode_stored("binary", value)
    assert again is not None
    assert encode(again) == value


def test_unused_parts_of_a_delete_event_are_left_out_and_zero_times_are_unset() -> None:
    zero = "0001-01-01T00:00:00Z"
    entity = {
        "submission": {"track_source_references": "s.1", "timestamp": zero},
        "author": {"timestamp": zero},
        "link": {},
        "ids": {"ids": []},
    }
    sample = {**samples.DELETE, "action": "submission", "entity": entity}
    event = only(decode_posted("delete", body(sample)))
    assert isinstance(event, DeleteEvent)
    assert json.loads(encode(event))["entity"] == {"submission": {"track_source_references": "s.1"}}


def test_a_zero_expiry_of_a_download_is_unset() -> None:
    sample = changed(samples.DOWNLOAD, "entity.direct_expiry", "0001-01-01T00:00:00Z")
    event = only(decode_posted("download", body(sample)))
    assert isinstance(event, DownloadEvent)
    assert json.loads(encode(event))["entity"] == {"hash": "aa"}


def test_a_runtime_of_nothing_is_left_out() -> None:
    event = only(decode_posted("status", body(changed(samples.STATUS, "entity.runtime", 0.0))))
    assert b"runtime" not in encode(event)


def test_a_plugin_feature_always_has_its_description_and_tags_only_when_there_are_some() -> None:
    features = [{"name": "a", "type": "string"}, {"name": "b", "type": "uri", "tags": ["t"]}]
    event = only(decode_posted("plugin", body(changed(samples.PLUGIN, "entity.features", features))))
    assert json.loads(encode(event))["entity"]["features"] == [
        {"name": "a", "type": "string", "desc": ""},
        {"name": "b", "type": "uri", "desc": "", "tags": ["t"]},
    ]


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("binary", "source.timestamp"),
        ("binary", "source.path.0.timestamp"),
        ("status", "timestamp"),
        ("status", "entity.input.timestamp"),
        ("status", "entity.input.source.path.0.timestamp"),
        ("plugin", "timestamp"),
        ("insert", "entity.child_history.timestamp"),
        ("download", "entity.direct_expiry"),
        ("download", "source.timestamp"),
        ("retrohunt", "source.timestamp"),
    ],
)
def test_every_time_of_every_model_is_stored_in_normal_form(model: Model, place: str) -> None:
    sample = changed(BY_MODEL[model], place, "2026-11-01T10:20:30.5000000+05:30")
    value: Any = json.loads(encode(only(decode_posted(model, body(sample)))))
    for step in place.split("."):
        value = value[int(step)] if step.isdigit() else value[step]
    assert value == "2026-11-01T04:50:30.5Z"


@pytest.mark.parametrize("part", ["submission", "author"])
def test_times_of_deletions_are_stored_in_normal_form(part: str) -> None:
    entity = {part: {"timestamp": "2026-11-01T10:20:30.5+05:30"}}
    value = json.loads(encode(only(decode_posted("delete", body({**samples.DELETE, "entity": entity})))))
    assert value["entity"] == {part: {"timestamp": "2026-11-01T04:50:30.5Z"}}


def test_times_of_results_are_stored_in_normal_form_too() -> None:
    result = changed(BINARY, "timestamp", "2026-11-01T10:20:30.50+05:30")
    sample = changed(samples.STATUS, "entity.results", [BINARY, result])
    event = only(decode_posted("status", body(sample)))
    assert json.loads(encode(event))["entity"]["results"][1]["timestamp"] == "2026-11-01T04:50:30.5Z"


def test_an_event_above_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    event = only(decode_posted("binary", body(BINARY)))
    assert isinstance(event, BinaryEvent)
    room = limits.EVENT_MAX_BYTES - len(encode(event)) - len(',"info":""')
    for extra, fits in ((0, True), (1, False)):
        info = msgspec.Raw(b'"' + b"x" * (room + extra) + b'"')
        big = replace(event, entity=replace(event.entity, info=info))
        if fits:
            assert len(encode(big)) == limits.EVENT_MAX_BYTES
        else:
            with pytest.raises(TooLarge):
                encode(big)


def test_a_tombstone_is_no_event() -> None:
    assert decode_stored("binary", None) is None
    assert decode_stored("binary", b"") is None


@pytest.mark.parametrize("version", [4, 5, 6])
def test_events_stored_by_older_versions_are_upgraded(version: int) -> None:
    old = changed(BINARY, "model_version", version)
    old = changed(old, "entity.file_format_legacy", "Text")
    old = changed(old, "source.path.0.file_format_legacy", "Text")
    event = decode_stored("binary", json.dumps(old).encode())
    assert event is not None
    assert event.model_version == 6
    assert event.source.settings == {}
    assert b"legacy" not in encode(event)


def test_a_stored_status_is_upgraded_with_its_input_and_results() -> None:
    old = {**BINARY, "model_version": 4}
    status = {
        **samples.STATUS,
        "model_version": 5,
        "entity": {"input": old, "results": [old, old], "status": "x"},
    }
    event = decode_stored("status", json.dumps(status).encode())
    assert isinstance(event, StatusEvent)
    inside = [event.entity.input, *event.entity.results]
    assert event.model_version == 6
    assert [one.model_version for one in inside] == [6, 6, 6]


def test_stored_events_of_unknown_versions_are_refused_not_guessed() -> None:
    with pytest.raises(EventOutdated):
        decode_stored("binary", body({**BINARY, "model_version": 3})[1:-1])
    with pytest.raises(EventInvalid):
        decode_stored("binary", body({**BINARY, "model_version": 7})[1:-1])


def test_a_retrohunt_without_entity_has_null() -> None:
    event = only(decode_posted("retrohunt", body(without(samples.RETROHUNT, "entity"))))
    assert isinstance(event, RetrohuntEvent)
    assert b'"entity":null' in encode(event)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["entity", "source", "path", "info", "author", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(MODELS), JUNK, st.integers(0, 40), st.binary(max_size=3))
def test_junk_never_raises_anything_but_an_event_error(
    model: Model, junk: Any, at: int, noise: bytes
) -> None:
    text = json.dumps({**junk, "model_version": 6} if isinstance(junk, dict) else junk).encode()
    for data in (text, text[:at] + noise + text[at:], noise):
        for decode in (decode_posted, decode_stored):
            with contextlib.suppress(EventError):
                decode(model, data)


@given(VALID_BINARIES, st.data())
def test_mutilated_events_never_raise_anything_but_an_event_error(
    event: BinaryEvent, data: st.DataObject
) -> None:
    value = encode(event)
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, len(value)))
    mutilated = value[:start] + data.draw(st.binary(max_size=4)) + value[end:]
    try:
        posted = decode_posted("binary", mutilated)
    except EventError:
        return
    for one in posted.events:
        encode(one).decode()
