"""Our own events: tasks and parked records."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventCorrupt
from pipeline.events import raw
from pipeline.events.parked import ParkedEntry, decode_parked, entry_id
from pipeline.events.task import TaskEvent, decode_task
from tests.events.strategies import RAWS, TEXT

SECONDS = st.floats(0, 1e11)
TASKS = st.builds(
    TaskEvent,
    kind=st.sampled_from(["dequeued", "heartbeat", "finished", "lapsed", "hold", "release", "requeue"]),
    dequeued=TEXT,
    task=TEXT,
    timestamp=SECONDS,
    plugin=TEXT,
    version=TEXT,
    consumer_key=st.none() | TEXT,
    attempt=st.integers(0, 10),
    previous=st.none() | TEXT,
    status=st.none() | TEXT,
    deadline=st.none() | SECONDS,
    event=st.none() | RAWS.filter(lambda value: value != raw.NULL),
)
HEADERS = st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=5)), max_size=3).map(tuple)
ENTRIES = st.builds(
    ParkedEntry,
    id=TEXT,
    agent=TEXT,
    topic=TEXT,
    partition=st.integers(0, 99),
    offset=st.integers(0, 2**63 - 1),
    key=st.none() | st.binary(max_size=5),
    headers=HEADERS,
    reason=TEXT,
    error=TEXT,
    object_key=TEXT,
    size_bytes=st.integers(0, 2**40),
    parked_at=SECONDS,
    state=st.sampled_from(["parked", "replayed", "dropped"]),
)


@given(TASKS)
def test_a_task_event_survives_its_record(event: TaskEvent) -> None:
    assert decode_task(event.encode()) == event


@given(ENTRIES)
def test_a_parked_entry_survives_its_record_with_key_and_headers_to_the_byte(entry: ParkedEntry) -> None:
    assert decode_parked(entry.encode()) == entry


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b'{"kind":"eaten"}', b"\xff", b"[" * 100_000])
def test_what_is_neither_is_refused(value: bytes) -> None:
    with pytest.raises(EventCorrupt):
        decode_task(value)
    with pytest.raises(EventCorrupt):
        decode_parked(value)


def test_a_task_keeps_the_whole_event_undecoded() -> None:
    whole = msgspec.Raw(b'{"a":1.50}')
    event = TaskEvent(kind="dequeued", dequeued="k.p.1.5", task="k.p.1", timestamp=5.0, event=whole)
    assert b'"event":{"a":1.50}' in event.encode()


PLACES = st.tuples(TEXT, TEXT, st.integers(0, 9), st.integers(0, 99))


@given(PLACES, PLACES)
def test_a_record_parked_twice_is_one_entry_and_two_records_are_two(
    first: tuple[str, str, int, int], second: tuple[str, str, int, int]
) -> None:
    assert (entry_id(*first) == entry_id(*second)) == (first == second)


def test_the_id_of_an_entry_never_changes() -> None:
    assert entry_id("enrich", "azul.test01.a.binary.sourced", 0, 12) == "b92378635086d2b4d83270ea8a4d313e"
