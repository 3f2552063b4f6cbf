"""Steps between post and topic that need only the events; and which events deletions cover."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from msgspec.structs import replace

from pipeline.errors import EventInvalid
from pipeline.events.codec import encode
from pipeline.events.deletions import Deletions
from pipeline.events.models import (
    Author,
    BinaryEvent,
    BinaryFlags,
    DeleteEvent,
    DownloadEvent,
    InsertEvent,
    PathNode,
    StatusEntity,
    StatusEvent,
)
from pipeline.events.produce import (
    finished_task,
    injected_child,
    is_aged_off,
    is_injectable,
    slim,
    split_results,
    without_spent_settings,
)
from pipeline.events.records import completed, record_of
from pipeline.events.sources import sources_from
from tests.events import samples
from tests.events.samples import BINARY, changed
from tests.events.test_keys import never, one

NOW = dt.datetime(2026, 11, 8, 12, tzinfo=dt.UTC)
WEEKLY = sources_from({"testing": {"expire_events_after": "7 days"}, "kept": {}}, "test01")


def binary(sample: dict[str, object] = BINARY) -> BinaryEvent:
    """Decode a binary sample."""
    event = one("binary", sample)
    assert isinstance(event, BinaryEvent)
    return event


def status(**entity: object) -> StatusEvent:
    """Decode a status sample with these fields of its entity."""
    event = one("status", {**samples.STATUS, "entity": {**samples.STATUS["entity"], **entity}})
    assert isinstance(event, StatusEvent)
    return event


@pytest.mark.parametrize(
    ("submitted", "gone"),
    [
        ("2026-11-01T11:59:59.999999Z", True),
        ("2026-11-01T12:00:00Z", False),
        ("2026-11-01T17:29:59+05:30", True),
        ("2026-11-01T17:30:00+05:30", False),
        ("2027-01-01T00:00:00Z", False),
    ],
)
def test_an_event_ages_off_only_after_the_expiry_of_its_source(submitted: str, gone: bool) -> None:
    event = binary(changed(BINARY, "source.timestamp", submitted))
    assert is_aged_off(event, WEEKLY, NOW) is gone
    told = status(input={**changed(BINARY, "source.timestamp", submitted), "dequeued": "a.b.c.1"})
    assert is_aged_off(told, WEEKLY, NOW) is gone


@pytest.mark.parametrize("source", ["kept", "unknown"])
def test_events_of_sources_without_expiry_and_of_unknown_ones_are_kept(source: str) -> None:
    old = changed(changed(BINARY, "source.timestamp", "2020-01-01T00:00:00Z"), "source.name", source)
    assert not is_aged_off(binary(old), WEEKLY, NOW)


def test_other_models_never_age_off() -> None:
    old = changed(samples.DOWNLOAD, "source.timestamp", "2020-01-01T00:00:00Z")
    assert not is_aged_off(one("download", old), WEEKLY, NOW)


@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("completed", True),
        ("opt-out", True),
        ("error-timeout", True),
        ("of-tomorrow", True),
        ("", True),
        ("heartbeat", False),
        ("dequeued", False),
    ],
)
def test_every_status_but_two_ends_its_task(word: str, ends: bool) -> None:
    assert finished_task(status(status=word)) == ("key.plug.1.2.1795252636" if ends else None)


def test_results_inherit_expedite_and_bypass_cache_and_never_retry() -> None:
    flags = {"expedite": True, "bypass_cache": True, "retry": True}
    result = {**BINARY, "flags": {"retry": True}}
    told = status(input={**BINARY, "dequeued": "a.b.c.1", "flags": flags}, results=[result, BINARY])
    split = split_results(told)
    assert [event.flags for event in split.results] == [BinaryFlags(expedite=True, bypass_cache=True)] * 2
    assert split.status == replace(told, entity=replace(told.entity, results=()))
    assert b"results" not in encode(split.status)


def test_results_do_not_keep_flags_of_their_own() -> None:
    told = status(results=[{**BINARY, "flags": {"expedite": True}, "model_version": 0}])
    (result,) = split_results(told).results
    assert result.flags == BinaryFlags()
    assert result.model_version == 6


@pytest.mark.parametrize("word", ["error-exception", "opt-out", "heartbeat"])
def test_results_of_other_statuses_stay_inside(word: str) -> None:
    told = status(status=word, results=[BINARY])
    assert split_results(told) == (told, ())


@pytest.mark.parametrize(
    ("action", "hashes", "injectable"),
    [
        ("sourced", ["a"], True),
        ("extracted", ["a", "b"], True),
        ("augmented", ["a", "a"], False),
        ("mapped", ["a"], False),
        ("enriched", ["a"], False),
    ],
)
def test_children_follow_only_where_their_parent_turns_up(
    action: str, hashes: list[str], injectable: bool
) -> None:
    event = binary()
    path = tuple(PathNode(sha256=sha256) for sha256 in hashes)
    event = replace(event, action=action, source=replace(event.source, path=path))
    assert is_injectable(event) is injectable


def test_an_injected_child_hangs_on_the_path_of_its_parent() -> None:
    insert = one("insert", samples.INSERT)
    assert isinstance(insert, InsertEvent)
    parent = binary()
    child = injected_child(parent, insert, NOW)
    assert child.source.path == (*parent.source.path, insert.entity.child_history)
    assert (child.action, child.author.name, child.timestamp) == (
        "extracted",
        "bob",
        "2026-11-08T12:00:00Z",
    )
    assert child.entity == insert.entity.child
    assert record_of("test01", child).topic == "azul.test01.testing.binary.extracted"


@pytest.mark.parametrize(
    ("depth", "hops", "left"),
    [("2", 1, True), ("2", 2, False), ("2", 3, False), ("two", 3, True), ("", 3, True), ("1_0", 10, True)],
)
def test_settings_go_once_the_path_is_as_long_as_they_reach(depth: str, hops: int, left: bool) -> None:
    sample = changed(BINARY, "source.settings", {"remove_at_depth": depth, "password": "x"})
    event = binary(changed(sample, "source.path", [samples.NODE] * hops))
    settings = without_spent_settings(event).source.settings
    assert settings == ({"remove_at_depth": depth, "password": "x"} if left else {})


def test_a_slim_event_has_lost_only_features_streams_and_info() -> None:
    feature = {"name": "f", "value": "v", "type": "string"}
    event = binary(changed(changed(BINARY, "entity.info", {"a": 1}), "entity.features", [feature]))
    assert json.loads(encode(slim(event))) == {**json.loads(encode(event)), "entity": {"sha256": "aa"}}


def test_a_record_has_the_key_the_topic_and_the_normal_form_of_its_event() -> None:
    event = completed(binary(changed(BINARY, "timestamp", "2026-11-01T10:20:30+01:00")), never)
    record = record_of("test01", event)
    assert record.topic == "azul.test01.testing.binary.sourced"
    assert record.key == event.kafka_key.encode()
    assert record.value == encode(event)
    assert b'"timestamp":"2026-11-01T09:20:30Z"' in (record.value or b"")


def test_a_status_of_ours_is_complete_in_its_record() -> None:
    entity = StatusEntity(input=replace(binary(), dequeued="a.b.c.1"), status="error-network", runtime=0.0)
    event = StatusEvent.authored(Author(name="plug"), entity, NOW)
    record = record_of("test01", event)
    assert record.topic == "azul.test01.system.status"
    assert record.key == completed(event, never).kafka_key.encode()
    assert b"runtime" not in (record.value or b"")


def test_a_random_key_is_never_made_up_while_writing() -> None:
    with pytest.raises(AssertionError):
        record_of("test01", DownloadEvent())
    with pytest.raises(EventInvalid):
        record_of("test01", BinaryEvent())


def deleted(action: str, event: BinaryEvent, **entity: object) -> bool:
    """Say whether one delete event covers a binary event."""
    deletions = Deletions()
    delete = one("delete", {**samples.DELETE, "action": action, "entity": entity})
    assert isinstance(delete, DeleteEvent)
    deletions.add(delete)
    deletions.add(delete)
    return deletions.cover(event)


@pytest.fixture
def known() -> BinaryEvent:
    """Give a binary event with its computed fields."""
    nodes = [samples.NODE, {**samples.NODE, "sha256": "bb"}]
    return completed(binary(changed(BINARY, "source.path", nodes)), never)


def test_nothing_is_deleted_before_a_delete_event(known: BinaryEvent) -> None:
    assert not Deletions().cover(known)


def test_an_event_is_deleted_by_key_and_by_any_link(known: BinaryEvent) -> None:
    assert deleted("ids", known, ids={"ids": ["other", known.kafka_key]})
    assert not deleted("ids", known, ids={"ids": ["other"]})
    assert deleted("link", known, link={"track_link": known.track_links[0]})
    assert not deleted("link", known, link={"track_link": "other"})


@pytest.mark.parametrize(
    ("before", "gone"),
    [
        ("2026-11-01T10:20:30Z", False),
        ("2026-11-01T10:20:30.000001Z", True),
        ("", False),
        ("2026-11-01T11:20:30+01:00", False),
        ("2026-11-01T12:00:00+01:00", True),
    ],
)
def test_an_author_is_deleted_up_to_a_time_and_not_later(
    known: BinaryEvent, before: str, gone: bool
) -> None:
    author = {"track_author": "user.bob.", **({"timestamp": before} if before else {})}
    assert deleted("author", known, author=author) is gone


@pytest.mark.parametrize(
    ("at", "gone"),
    [
        ("", True),
        ("2026-01-01T00:00:00Z", True),
        ("2026-01-01T05:30:00+05:30", True),
        ("2026-01-01T00:00:01Z", False),
    ],
)
def test_a_submission_is_deleted_whole_or_at_exactly_one_time(
    known: BinaryEvent, at: str, gone: bool
) -> None:
    submission = {"track_source_references": known.track_source_references}
    assert deleted("submission", known, submission=submission | ({"timestamp": at} if at else {})) is gone


def test_only_the_part_the_action_names_counts(known: BinaryEvent) -> None:
    assert not deleted("link", known, ids={"ids": [known.kafka_key]})
    assert not deleted("ids", known, link={"track_link": known.track_links[0]})
    assert not deleted("of-tomorrow", known, ids={"ids": [known.kafka_key]})
