"""Tracking fields: deletions find events by these texts, so each character counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.events.ids import md5_hex
from pipeline.events.models import Author, BinaryEvent, Event, InsertEvent, PathNode, Source
from pipeline.events.names import MODELS
from pipeline.events.tracking import track_link, with_tracking
from tests.events import samples
from tests.events.strategies import VALID_BINARIES, any_event
from tests.events.test_keys import CHILD, FIXTURE, PARENT, one


def test_the_fixture_of_the_contract_has_its_references() -> None:
    tracked = with_tracking(FIXTURE)
    assert tracked.track_source_references == "virustotal.5a0cc3b7a38feb282d8ae928eca68f5d"


def test_no_references_are_the_hash_of_nothing() -> None:
    tracked = with_tracking(BinaryEvent(source=Source(name="testing")))
    assert tracked.track_source_references == "testing.d41d8cd98f00b204e9800998ecf8427e"


def test_references_are_sorted_by_key_not_as_joined_text() -> None:
    source = Source(name="s", references={"a-": "y", "a": "x"})
    assert with_tracking(BinaryEvent(source=source)).track_source_references == f"s.{md5_hex(b'a.x.a-.y.')}"


def test_the_link_of_the_contract() -> None:
    author = Author(name="MimeDecoder", version="2021.02.14", category="plugin")
    node = PathNode(author=author, sha256=CHILD, timestamp="2021-02-14T12:12:21.5Z")
    assert track_link(PARENT, node) == (
        f"{PARENT}.{CHILD}.2021_02_14T12_12_21Z_00.plugin.MimeDecoder.2021.02.14"
    )


def test_a_link_keeps_the_posted_time_and_only_the_hours_of_its_offset() -> None:
    node = {**samples.NODE, "sha256": "1c", "timestamp": "2026-11-01T10:20:30.5+05:30"}
    sample = samples.changed(samples.BINARY, "source.path", [{**samples.NODE, "sha256": "1"}, node])
    event = one("binary", sample)
    assert isinstance(event, BinaryEvent)
    assert with_tracking(event).track_links == ("1.1c.2026_11_01T10_20_30+05_00.user.bob.",)


def test_a_whole_hour_offset_as_in_the_contract() -> None:
    node = PathNode(author=Author(name="n"), sha256="c", timestamp="2021-02-14T12:12:21+11:00")
    assert track_link("p", node) == "p.c.2021_02_14T12_12_21+11_00..n."


def test_an_offset_of_nothing_is_utc_in_a_link() -> None:
    sample = samples.changed(samples.INSERT, "entity.child_history.timestamp", "2021-02-14T12:12:21+00:00")
    event = one("insert", sample)
    assert isinstance(event, InsertEvent)
    tracked = with_tracking(event)
    assert tracked.track_link == "aa.bb.2021_02_14T12_12_21Z_00.user.bob."
    assert tracked.track_author == "user.bob."


def test_authors_have_one_entry_a_node_and_empty_parts_leave_their_dots() -> None:
    authors = (Author(name="p"), Author(name="q", version="1.2", category="plugin"))
    path = tuple(PathNode(author=author) for author in authors)
    assert with_tracking(BinaryEvent(source=Source(path=path))).track_authors == (".p.", "plugin.q.1.2")


@given(VALID_BINARIES)
def test_what_a_client_put_into_tracking_fields_is_overwritten(event: BinaryEvent) -> None:
    forged = replace(
        event, track_source_references="forged", track_links=("forged",) * 5, track_authors=("forged",)
    )
    tracked = with_tracking(forged)
    assert tracked == with_tracking(event)
    assert len(tracked.track_authors) == len(event.source.path)
    assert len(tracked.track_links) == len(event.source.path) - 1


@given(st.sampled_from([m for m in MODELS if m not in ("binary", "insert")]).flatmap(any_event))
def test_models_without_tracking_fields_stay_as_they_are(event: Event) -> None:
    assert with_tracking(event) is event
