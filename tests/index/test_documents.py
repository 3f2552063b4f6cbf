"""Documents of binary events: the worked example of the metastore contract, section 23.2, and its edges."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventInvalid
from pipeline.events.models import BinaryEvent
from pipeline.index.documents import documents_of
from pipeline.index.port import Document
from tests.index.events import LABEL, SOURCES, UNZIP, USER, A, B, event, md5


def child(of: BinaryEvent) -> Document:
    """Return the document with the knowledge of an event."""
    return documents_of(of, sources=SOURCES, default_security="")[1]


def test_the_worked_example_of_an_extracted_binary() -> None:
    parent, metadata = documents_of(event(), sources=SOURCES, default_security="")
    everybody = {"exclusive": ["s-any"], "inclusive": ["s-any"], "markings": ["s-any"], "num_exclusive": 1}
    assert parent == Document(
        "binary2",
        A,
        {"binary_info": {"name": "binary"}, "security": "s-any", "encoded_security": everybody},
        1,
        A,
    )
    assert metadata.id == (
        f"{A}.plugin.unzip.extracted.OFFICIALTLPCLEAR.testing.0f3c.20240314T090000Z.OFFICIALTLPCLEAR.{B}"
    )
    assert (metadata.routing, metadata.version) == (A, 1710406805000000)
    key = f"{A}.plugin.unzip.extracted"
    name = "C:\\x\\note.txt"
    assert metadata.body == {
        "binary_info": {"name": "metadata", "parent": A},
        "action": "extracted",
        "timestamp": "2024-03-14T09:00:05Z",
        "security": LABEL,
        "encoded_security": everybody,
        "author": UNZIP,
        "track_author": "plugin.unzip.7",
        "sha256": A,
        "md5": "cc" * 16,
        "size": 812,
        "file_format": "text/plain",
        "datastreams": [{"label": "content", "sha256": A, "size": 812}],
        "features": [
            {
                "name": "filename",
                "type": "filepath",
                "value": name,
                "enriched": {"filepath": "C:/x/note.txt"},
                "encoded": {},
            }
        ],
        "features_map": {"filename": [name]},
        "filename": [name],
        "num_feature_names": 1,
        "num_feature_values": 1,
        "sha256_author_action": key,
        "uniq_features": f"{key}.{md5('filename.' + name)}",
        "uniq_data": f"{key}.{md5(A)}",
        "depth": 1,
        "track_source_references": "testing.0f3c",
        "track_source_references_grouped": f"testing.{md5('user.me.')}",
        "source": {
            "name": "testing",
            "security": LABEL,
            "timestamp": "2024-03-14T09:00:00Z",
            "references": {"user": "me"},
            "encoded_references": [{"key": "user", "value": "me", "key_value": "user.me"}],
        },
        "track_link": f"{B}.{A}.plugin.unzip.7",
        "parent_track_author": "user.me.",
        "parent_relationship": {"action": "extracted", "label": "member"},
        "parent": {
            "sha256": B,
            "action": "sourced",
            "timestamp": "2024-03-14T09:00:00Z",
            "author": USER,
            "file_format": "archive/zip",
            "size": 4096,
            "encoded": {"sha256_author_action": f"{B}.user.me.sourced"},
        },
    }


def test_an_enriched_event_keeps_only_what_was_found_out() -> None:
    document = child(event(action="enriched", entity__info={"b": 1, "a": [2]}))
    assert document.id == f"{A}.plugin.unzip.enriched.OFFICIALTLPCLEAR"
    assert not {"source", "depth", "track_link", "parent", "datastreams", "uniq_data"} & set(document.body)
    assert document.body["info"] == {"b": 1, "a": [2]}
    assert document.body["uniq_info"] == "".join((A, ".plugin.unzip.enriched.", md5('{"a":[2],"b":1}')))


def test_an_augmented_event_keeps_its_submission_and_its_other_streams() -> None:
    streams = [
        {"label": "text", "sha256": "DD" * 32, "size": 1},
        {"label": "content", "sha256": A, "size": 812},
    ]
    document = child(event(action="augmented", entity__datastreams=streams))
    assert document.id.endswith(".testing.0f3c.20240314T090000Z.OFFICIALTLPCLEAR")
    assert document.body["datastreams"] == [{"label": "text", "sha256": "dd" * 32, "size": 1}]
    assert document.body["uniq_data"] == f"{A}.plugin.unzip.augmented.{md5(A + '.' + 'dd' * 32)}"
    assert (document.body["depth"], "parent" in document.body) == (0, False)


def test_a_sourced_event_has_no_link_and_depth_zero() -> None:
    whole = event()
    sourced = event(
        action="sourced",
        source__path=[msgspec.to_builtins(whole.source.path[0])],
        track_authors=["user.me."],
        track_links=[],
    )
    document = child(sourced)
    assert (document.body["depth"], "parent" in document.body) == (0, False)
    assert "parent_relationship" not in document.body


def test_a_mapped_event_of_one_node_has_no_link() -> None:
    whole = event()
    mapped = event(
        action="mapped",
        source__path=[msgspec.to_builtins(whole.source.path[1])],
        track_authors=["plugin.unzip.7"],
        track_links=[],
        entity__datastreams=[],
    )
    assert child(mapped).id.endswith(".testing.0f3c.20240314T090000Z.OFFICIALTLPCLEAR")


def test_hashes_are_found_in_lower_case_and_times_in_utc() -> None:
    document = child(
        event(
            entity__sha256=A.upper(),
            entity__md5="CC" * 16,
            timestamp="2024-03-14T10:30:05.1234567+01:30",
            source__timestamp="2024-03-14T23:00:00-10:00",
        )
    )
    assert (document.routing, document.body["sha256"], document.body["md5"]) == (A, A, "cc" * 16)
    assert document.body["timestamp"] == "2024-03-14T09:00:05.123456Z"
    assert document.version == 1710406805123456
    assert document.body["source"]["timestamp"] == "2024-03-15T09:00:00Z"
    assert ".20240315T090000Z." in document.id


def test_a_newer_event_has_a_higher_version_and_the_same_id_whatever_its_authors_version() -> None:
    old = child(event())
    new = child(event(timestamp="2024-03-14T09:00:05.000001Z", author=UNZIP | {"version": "8"}))
    assert (old.id, old.version + 1) == (new.id, new.version)


def test_a_time_nobody_set_is_the_oldest_version() -> None:
    assert child(event(timestamp="0001-01-01T00:00:00Z")).version == 0


def test_missing_security_is_the_default_and_part_of_the_id() -> None:
    plain = event(
        author={"name": "p"},
        source__security="",
        source__path=[{"sha256": A, "action": "enriched", "author": {"name": "p"}}],
        action="enriched",
    )
    _, document = documents_of(plain, sources=SOURCES, default_security="low  tlp:green")
    assert document.body["security"] == "LOW TLP:GREEN"
    assert document.id == f"{A}..p.enriched.LOWTLPGREEN"
    _, document = documents_of(plain, sources=SOURCES, default_security="")
    assert (document.body["security"], "security" in document.body["author"]) == ("", False)


def test_an_empty_file_can_be_found_by_its_size() -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert child(event(entity__sha256=empty, entity__size=0)).body["size"] == 0
    assert "size" not in child(event(entity__size=0)).body


def test_references_without_priority_do_not_group_submissions() -> None:
    grouped = "track_source_references_grouped"
    assert child(event(source__references={"task": "1"})).body[grouped] == "testing.0f3c"
    both = child(event(source__references={"user": "me", "task": "1"})).body
    assert both[grouped] == f"testing.{md5('user.me.')}"
    assert [each["key"] for each in both["source"]["encoded_references"]] == ["task", "user"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"entity__sha256": "aa"}, "not a sha256"),
        ({"entity__sha256": ""}, "not a sha256"),
        ({"track_source_references": ""}, "tracking"),
        ({"track_authors": []}, "tracking"),
        ({"track_links": []}, "tracking"),
        ({"track_authors": ["plugin.unzip.7"]}, "tracking"),
        ({"source__name": "unheard"}, "not configured"),
        ({"entity__datastreams": [{"label": "text"}] * 101}, "more than 100"),
        ({"entity__features": [{"name": "n", "value": "v", "type": "string"}] * 10_001}, "more than 10000"),
        ({"entity__ssdeep": "not-a-hash"}, "ssdeep"),
        ({"entity__ssdeep": "x:y:z"}, "ssdeep"),
        ({"entity__ssdeep": "3:a:b:c"}, "ssdeep"),
        ({"entity__info": {"ssdeep": "3:a"}}, "ssdeep"),
        ({"entity__size": 2**63}, "beyond any file"),
        (
            {"entity__features": [{"name": "n", "type": "string", "offset": 2**62, "size": 2**62}]},
            "beyond any file",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_events_that_can_have_no_document_are_refused_with_the_reason(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(EventInvalid, match=why):
        child(event(**changes))


def test_similarity_hashes_are_taken_apart_wherever_they_stand() -> None:
    tlsh = "T1" + "12" * 2 + "3F" + "00" * 31 + "FF"
    direct = child(event(entity__ssdeep="96:abc:de", entity__tlsh=tlsh)).body
    told = child(event(entity__info={"ssdeep": "96:abc:de", "tlsh": tlsh[2:]})).body
    for body in (direct, told):
        assert body["encoded_ssdeep"] == {"blocksize": 96, "chunk": "abc", "dchunk": "de"}
        assert body["tlsh_vector"] == [0x21 - 128, 0x21 - 128, 3 - 128, 15 - 128, *[-128] * 31, 127]
    assert "tlsh_vector" not in child(event(entity__tlsh="TNULL")).body


def test_entropy_becomes_bits() -> None:
    body = child(event(entity__info={"entropy": {"blocks": [1.0] * 40}})).body
    assert body["entropy_vector"] == [-16, 0, 0, 0] * 40
    body = child(event(entity__info={"entropy": {"blocks": [8.0, 9] * 30}})).body
    assert body["entropy_vector"] == [-1] * 160
    for absurd in ([1e308, -1e308] * 20, [2**63, -(2**63)] * 30, [1.0] * 10_000):
        assert len(child(event(entity__info={"entropy": {"blocks": absurd}})).body["entropy_vector"]) == 160
    for blocks in ([1.0] * 39, "text", [1.0] * 39 + ["x"], None):
        assert "entropy_vector" not in child(event(entity__info={"entropy": {"blocks": blocks}})).body


@pytest.mark.parametrize(
    ("kind", "value", "enriched"),
    [
        ("integer", "-12", {"integer": -12}),
        ("integer", "1.5", None),
        ("integer", f"{2**63}", None),
        ("float", "1e3", {"float": 1000.0}),
        ("float", "nan", None),
        ("string", "anything", {}),
        ("binary", "aGVsbG//", {"binary_string": "hello"}),
        ("binary", "not base64", None),
        ("datetime", "2024-03-14T09:00:00+02:00", {"datetime": "2024-03-14T07:00:00Z"}),
        ("datetime", "2024-03-14 09:00:00", {"datetime": "2024-03-14T09:00:00Z"}),
        ("datetime", "soon", None),
        ("filepath", "\\\\host\\share/x", {"filepath": "//host/share/x"}),
        ("filepath", "/unix/odd\\name", {"filepath": "/unix/odd\\name"}),
        ("filepath", "plain", {"filepath": "plain"}),
        (
            "uri",
            "https://u:p@Example.com:8080/a;b?c=d#e",
            {
                "scheme": "https",
                "netloc": "u:p@Example.com:8080",
                "filepath": "/a",
                "params": "b",
                "query": "c=d",
                "fragment": "e",
                "username": "u",
                "password": "p",
                "hostname": "example.com",
                "port": 8080,
            },
        ),
        (
            "uri",
            "10.0.0.1/x",
            {"netloc": "10.0.0.1", "filepath": "/x", "hostname": "10.0.0.1", "ip": "10.0.0.1"},
        ),
        (
            "uri",
            "http://[::ffff:1.2.3.4]/",
            {
                "scheme": "http",
                "netloc": "[::ffff:1.2.3.4]",
                "filepath": "/",
                "hostname": "::ffff:1.2.3.4",
                "ip": "1.2.3.4",
            },
        ),
        ("uri", "http://host:port/", None),
        ("uri", "http://[bad/", None),
        ("unheard-of", "x", {}),
    ],
)
def test_features_are_enriched_by_type_and_kept_when_they_are_not_of_it(
    kind: str, value: str, enriched: dict[str, Any] | None
) -> None:
    (feature,) = child(event(entity__features=[{"name": "n", "type": kind, "value": value}])).body[
        "features"
    ]
    assert (feature["value"], feature.get("enriched")) == (value, enriched)


def test_feature_names_with_dots_or_nothing_in_them_stop_nothing() -> None:
    features = [
        {"name": name, "type": "string", "value": "v"} for name in ("a.b", "", " ", "n" * 201, "a_b")
    ]
    body = child(event(entity__features=features)).body
    assert body["features_map"] == {"a_b": ["v"]}
    assert [each.get("name", "") for each in body["features"]] == ["a.b", "", " ", "n" * 201, "a_b"]
    assert (body["num_feature_names"], body["num_feature_values"]) == (5, 5)


def test_a_features_place_becomes_a_range() -> None:
    features = [{"name": "n", "type": "string", "value": "v", "offset": 5, "size": 3}]
    (feature,) = child(event(entity__features=features)).body["features"]
    assert feature["encoded"] == {"location": {"gte": 5, "lte": 8}}


def test_names_of_relationships_and_settings_can_stand_in_a_document() -> None:
    path = list(msgspec.to_builtins(event().source.path))
    path[1] = path[1] | {"relationship": {"a.b": "1", "": "2", "label": "3"}}
    assert child(event(source__path=path)).body["parent_relationship"] == {
        "a_b": "1",
        "_": "2",
        "label": "3",
    }


def test_numbers_beyond_64_bits_in_info_stop_nothing() -> None:
    raw = msgspec.Raw(b'{"n": 123456789012345678901234567890}')
    whole = event()
    entity = msgspec.structs.replace(whole.entity, info=raw)
    document = child(msgspec.structs.replace(whole, entity=entity))
    assert document.body["info"] == {"n": 1.2345678901234568e29}


@given(st.text(max_size=40), st.sampled_from(["integer", "float", "binary", "datetime", "filepath", "uri"]))
def test_no_feature_value_whatever_stops_an_event(value: str, kind: str) -> None:
    body = child(event(entity__features=[{"name": "n", "type": kind, "value": value}])).body
    assert body["features"][0].get("value", "") == value
