"""Kafka keys and dequeued ids: stored keys depend on every character of these."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import EventInvalid
from pipeline.events.codec import decode_posted
from pipeline.events.ids import (
    dequeued_id,
    descriptor,
    kafka_key,
    md5_hex,
    parse_dequeued,
    task_key,
    with_key,
)
from pipeline.events.models import Author, BinaryEvent, Event, PathNode, Source
from tests.events import samples
from tests.events.strategies import VALID_BINARIES, any_event

PARENT = "b9debe8afbdc6d0f552ca4d41fc8a5760778f2724d1560f6b4b0fc28bd837a82"
CHILD = "ee303d3c6d7cfa24d42e6348bdd1103a26de77a887e9dbee3dd1fe6304414f69"
FIXTURE = BinaryEvent(
    source=Source(
        name="virustotal",
        timestamp="2021-02-06T16:43:23Z",
        references={
            "submitter_region": "63",
            "interface": "web",
            "submitter_id": "0a9e3094",
            "submitter_country": "UA",
            "submitter_city": "kharkiv",
        },
        path=(
            PathNode(author=Author(name="vtdownload"), action="sourced", sha256=PARENT),
            PathNode(author=Author(name="MimeDecoder", version="9"), action="extracted", sha256=CHILD),
        ),
    )
)


def never(_: int) -> bytes:
    """Stand in for the random source where none may be asked."""
    raise AssertionError("this key is not random")


def one(model: str, sample: dict[str, Any]) -> Event:
    """Decode one posted sample."""
    (event,) = decode_posted(model, samples.body(sample)).events
    return event


def test_the_fixture_of_the_contract_has_its_descriptor_and_key() -> None:
    assert descriptor(FIXTURE) == (
        "virustotal..2021-02-06T16:43:23.interface.web.submitter_city.kharkiv.submitter_country.UA."
        "submitter_id.0a9e3094.submitter_region.63.vtdownload.sourced."
        f"{PARENT}.MimeDecoder.extracted.{CHILD}."
    )
    assert kafka_key(FIXTURE, never) == "e299c2cfa5345f98ea34ff0455de22b7"


def test_a_single_node_is_in_the_descriptor_once() -> None:
    path = (PathNode(author=Author(name="p"), action="enriched", sha256="q"),)
    event = BinaryEvent(source=Source(name="testing", timestamp="2026-01-01T00:00:00Z", path=path))
    assert descriptor(event) == "testing..2026-01-01T00:00:00.p.enriched.q."
    assert kafka_key(event, never) == "a016528e3fee225dd6c1693fb67376ea"


def test_the_first_of_three_nodes_never_counts_except_for_its_security() -> None:
    first = PathNode(author=Author(name="one", security="TOP"), action="sourced", sha256="1")
    event = replace(FIXTURE, source=replace(FIXTURE.source, path=(first, *FIXTURE.source.path)))
    text = descriptor(event) or ""
    assert "one.sourced" not in text
    assert ".63.TOP.vtdownload." in text


def test_the_time_is_cut_in_the_offset_it_was_posted_with() -> None:
    sample = samples.changed(samples.BINARY, "source.timestamp", "2026-11-01T10:20:30.5+05:30")
    assert (descriptor(one("binary", sample)) or "").startswith("testing..2026-11-01T10:20:30.bob.")


def test_pairs_are_sorted_as_joined_text_not_by_their_keys() -> None:
    source = replace(FIXTURE.source, references={"a": "x", "a-": "y"}, settings={"b": "1", "a": "2"})
    text = descriptor(replace(FIXTURE, source=source)) or ""
    assert ".a-.y.a.x.a.2.b.1.vtdownload." in text


def test_securities_of_the_path_count_once_each_sorted_and_not_when_empty() -> None:
    names = ("SECRET", "", "LOW", "SECRET")
    path = tuple(
        PathNode(author=Author(name="p", security=name), action="mapped", sha256="q") for name in names
    )
    source = Source(name="s", security="HIGH", timestamp="2026-01-01T00:00:00Z", path=path)
    assert descriptor(BinaryEvent(source=source)) == (
        "s.HIGH.2026-01-01T00:00:00.LOW.SECRET.p.mapped.q.p.mapped.q."
    )


@given(VALID_BINARIES, st.randoms(use_true_random=False))
def test_the_order_of_references_and_settings_never_changes_a_key(
    event: BinaryEvent, shuffler: random.Random
) -> None:
    references, settings = list(event.source.references.items()), list(event.source.settings.items())
    shuffler.shuffle(references)
    shuffler.shuffle(settings)
    source = replace(event.source, references=dict(references), settings=dict(settings))
    assert kafka_key(replace(event, source=source), never) == kafka_key(event, never)


@given(VALID_BINARIES)
def test_what_is_not_in_the_descriptor_never_changes_a_key(event: BinaryEvent) -> None:
    path = tuple(
        replace(node, author=replace(node.author, version="other"), timestamp="2001-01-01T00:00:00Z")
        for node in event.source.path
    )
    other = replace(
        event,
        kafka_key="client's own",
        entity=replace(event.entity, sha256="other", info=event.entity.info),
        timestamp="2001-01-01T00:00:00Z",
        source=replace(event.source, path=path),
    )
    assert kafka_key(other, never) == kafka_key(event, never)


def test_a_binary_event_without_a_path_has_no_key() -> None:
    with pytest.raises(EventInvalid):
        kafka_key(BinaryEvent(), never)


def test_all_statuses_of_a_task_by_one_plugin_share_the_key_of_the_contract() -> None:
    dequeued = "0f51fe52ec5dde5eb7d96bbb28aa9534.plug.1.2.1795252636"
    sample = samples.changed(samples.STATUS, "entity.input.dequeued", dequeued)
    later = samples.changed(sample, "entity.status", "error-exception")
    assert kafka_key(one("status", sample), never) == "91d2a6f20f67fde313a580760520b85d"
    assert kafka_key(one("status", later), never) == "91d2a6f20f67fde313a580760520b85d"


def test_plugin_and_insert_keys_come_from_their_names() -> None:
    assert descriptor(one("plugin", samples.PLUGIN)) == "plug.1.2"
    assert descriptor(one("insert", samples.INSERT)) == "aa.bb.bob"


@pytest.mark.parametrize("model", ["delete", "download", "retrohunt"])
def test_models_without_replacement_get_a_key_of_32_random_bytes(model: str) -> None:
    event = one(model, samples.BY_MODEL[model])
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return b"\7" * size

    assert kafka_key(event, source) == md5_hex(b"\7" * 32)
    assert asked == [32]


@given(st.sampled_from(["plugin", "status", "insert"]).flatmap(any_event))
def test_a_posted_key_is_replaced(event: Event) -> None:
    keyed = with_key(event, never)
    assert keyed.kafka_key == kafka_key(event, never)
    assert len(keyed.kafka_key) == 32


def test_the_dequeued_id_of_the_contract() -> None:
    made = dequeued_id("0f51fe52ec5dde5eb7d96bbb28aa9534", "plug", "1.2", 1795252635.9)
    assert made == "0f51fe52ec5dde5eb7d96bbb28aa9534.plug.1.2.1795252635"


@given(st.text("ab.-1", min_size=1), st.text("ab.-1"), st.text("0123.v"), st.integers(0, 2**40))
def test_the_time_is_read_back_whatever_dots_name_and_version_hold(
    key: str, name: str, version: str, seconds: int
) -> None:
    dequeued = dequeued_id(key, name, version, seconds)
    assert parse_dequeued(dequeued) == (f"{key}.{name}.{version}", seconds)
    assert task_key(dequeued) == f"{key}.{name}.{version}"


@pytest.mark.parametrize(
    ("dequeued", "task", "seconds"),
    [
        ("sha.feed.1.noon", "sha.feed.1", None),
        ("", "", None),
        ("x", "x", None),
        ("a.", "a", None),
        ("a.²", "a", None),
        ("a." + "9" * 5000, "a", None),
        ("a.-1", "a", None),
    ],
)
def test_an_id_a_feed_invented_never_raises(dequeued: str, task: str, seconds: int | None) -> None:
    assert parse_dequeued(dequeued) == (task, seconds)
