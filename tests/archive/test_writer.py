"""Storing batches of messages (archive contract, sections 7 to 13), on both databases."""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.archive import lookup
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.verify import verify_message
from pipeline.errors import BadInput, Damaged, NotFound, StorageFull
from pipeline.log.port import Headers, Record
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import Stat
from tests.archive.archived import CLIENT_UUID, TIME_MS, TOPIC, Archive, Statistics, a_message, with_id

Writers = Callable[..., ArchiveWriter]


async def test_a_record_of_the_log_becomes_an_object_and_a_row(
    writer: ArchiveWriter, archive: Archive
) -> None:
    record = Record(TOPIC, 2, 41, TIME_MS, b"event-1", b"hello", (("title", b"T2"), ("n", None)))
    (outcome,) = await writer.store([Message.of(record)])
    (row,) = await archive.rows()
    data = await lookup.read_object(archive.objects, row)
    assert outcome.key == row.key == f"{TOPIC}/2023/11/14/22/{row.uuid}.bson"
    assert (row.topic, row.timestamp, row.title, row.media_type) == (TOPIC, TIME_MS, "T2", "text/plain")
    assert (row.size, row.crc32, row.layout) == (len(data), zlib.crc32(data), 2)
    assert (row.message_crc32, row.sha256) == (907060870, hashlib.sha256(b"hello").digest())
    assert (row.kafka_partition, row.kafka_offset, row.cluster) == (2, 41, None)
    assert row.ingested_at == dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert (row.public, row.direct_upload, row.retracted) == (True, False, False)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (None, None, None),
        (b"", b"", ()),
        (b"\xff\x00", b"\x00" * 10, (("a", b""), ("a", None), ("a", b"\xff"), ("", b"1"))),
        (b"k", b"x" * 600_000, (("long", b"y" * 100_000),)),
    ],
    ids=["all null", "all empty", "binary and repeated", "long"],
)
async def test_a_message_is_read_back_as_it_was(
    key: bytes | None, value: bytes | None, headers: Headers, writer: ArchiveWriter, archive: Archive
) -> None:
    message = a_message(3, key=key, value=value, headers=headers)
    (outcome,) = await writer.store([message])
    found = await archive.message(outcome.uuid)
    assert (found.key, found.value) == (key, value)
    assert found.headers_as_sent() == (headers or None)
    assert outcome.uuid is not None
    await verify_message(archive.objects, archive.database, message, outcome.uuid)


async def test_the_same_batch_twice_changes_nothing(
    new_writer: Writers, archive: Archive, objects: MemoryStore
) -> None:
    batch = [a_message(0), with_id(1), a_message(2, value=None), a_message(None), a_message(0)]
    first = await new_writer().store(batch)
    assert [outcome.status for outcome in first] == ["stored"] * 4 + ["duplicate"]
    rows, keys, statistics = await archive.rows(), await archive.keys(), await archive.statistics()
    changed = [(await objects.stat(key)) for key in keys]
    again = await new_writer().store(batch)
    assert {outcome.status for outcome in again} == {"duplicate"}
    assert (await archive.rows(), await archive.keys()) == (rows, keys)
    assert await archive.statistics() == statistics == {TOPIC: Statistics(TIME_MS, TIME_MS, 4)}
    assert [(await objects.stat(key)) for key in keys] == changed


async def test_statistics_count_what_was_stored_topic_by_topic(
    writer: ArchiveWriter, archive: Archive
) -> None:
    await writer.store([a_message(n, timestamp_ms=TIME_MS + n, topic=f"t{n % 2}") for n in range(6)])
    await writer.store([a_message(n, timestamp_ms=TIME_MS + n, topic=f"t{n % 2}") for n in range(4, 9)])
    assert await archive.statistics() == {
        "t0": Statistics(TIME_MS, TIME_MS + 8, 5),
        "t1": Statistics(TIME_MS + 1, TIME_MS + 7, 4),
    }


async def test_nothing_to_store_is_fine(writer: ArchiveWriter) -> None:
    assert await writer.store([]) == []


async def test_objects_lie_under_the_callers_prefix_and_rows_name_its_bucket(
    new_writer: Writers, archive: Archive
) -> None:
    (outcome,) = await new_writer(prefix="archive/", bucket="kept").store([a_message()])
    assert await archive.keys("archive/") == [outcome.key] == await archive.keys()
    (row,) = await archive.rows()
    assert (row.key, row.bucket) == (outcome.key, "kept")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"topic": "../etc"}, "not the name of a topic"),
        ({"headers": (("\udc80", b""),)}, "surrogate"),
        ({"value": b"x" * 4000}, "limit is 2000"),
    ],
    ids=["topic", "header name", "too large"],
)
async def test_what_can_never_be_stored_is_refused_and_stops_nothing(
    changed: dict[str, object], reason: str, new_writer: Writers, archive: Archive
) -> None:
    bad = a_message(1, **changed)  # type: ignore[arg-type]
    outcomes = await new_writer(object_max_bytes=2000).store([a_message(0), bad, a_message(2)])
    assert [outcome.status for outcome in outcomes] == ["stored", "refused", "stored"]
    assert reason in outcomes[1].reason
    assert len(await archive.rows()) == len(await archive.keys()) == 2


class Picky(MemoryStore):
    """A store that takes no object of one uuid, for a reason of its own, or is full."""

    def __init__(self, inner: MemoryStore, error: Exception, word: str = "") -> None:
        self.__dict__ = inner.__dict__
        self._error = error
        self._word = word

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Refuse keys with the word in them."""
        if self._word in key:
            raise self._error
        return await super().put(key, source, **options)  # type: ignore[arg-type]


async def test_a_duplicate_of_a_message_the_store_refuses_is_stored_in_its_place(
    new_writer: Writers, objects: MemoryStore, archive: Archive
) -> None:
    """The first of two messages of one place falls away: the second must not count as its duplicate."""
    picky = Picky(objects, BadInput("put an object", "no such key here"), str(CLIENT_UUID))
    outcomes = await new_writer(objects=picky).store([with_id(0), a_message(0), a_message(1)])
    assert [outcome.status for outcome in outcomes] == ["refused", "stored", "stored"]
    assert len(await archive.rows()) == 2


async def test_a_duplicate_of_a_message_that_is_too_large_is_stored_in_its_place(
    new_writer: Writers, archive: Archive
) -> None:
    batch = [a_message(0, value=b"x" * 4000), a_message(0, value=b"small")]
    outcomes = await new_writer(object_max_bytes=2000).store(batch)
    assert [outcome.status for outcome in outcomes] == ["refused", "stored"]
    assert len(await archive.rows()) == 1


async def test_a_full_store_leaves_no_row(
    new_writer: Writers, objects: MemoryStore, archive: Archive
) -> None:
    full = Picky(objects, StorageFull("put an object"))
    with pytest.raises(StorageFull):
        await new_writer(objects=full).store([a_message(n) for n in range(10)])
    assert await archive.rows() == []
    assert await archive.statistics() == {}


@pytest.mark.parametrize("key", [b"event-1", "ä".encode(), b""])
async def test_a_message_is_found_by_its_record_key(
    key: bytes, writer: ArchiveWriter, archive: Archive
) -> None:
    await writer.store([a_message(0, key=key), a_message(1, key=b"other"), a_message(2, key=key)])
    found = await lookup.by_event_key(archive.database, key.decode())
    assert [row.kafka_offset for row in found] == [0, 2]


@pytest.mark.parametrize("key", [b"\xff", b"a\0b", b"x" * 513])
async def test_a_record_key_that_is_no_short_text_stays_in_the_object_alone(
    key: bytes, writer: ArchiveWriter, archive: Archive
) -> None:
    (outcome,) = await writer.store([a_message(0, key=key)])
    assert (await archive.message(outcome.uuid)).key == key
    assert [row.event_key for row in await archive.rows()] == [None]


async def test_one_place_may_hold_several_messages(new_writer: Writers, archive: Archive) -> None:
    await new_writer().store([a_message(5), a_message(6), a_message(5, timestamp_ms=TIME_MS + 9)])
    await new_writer(cluster="east").store([a_message(5)])
    places = [(row.cluster, row.kafka_offset, row.timestamp) for row in await archive.rows()]
    expected = {(None, 5, TIME_MS), (None, 6, TIME_MS), (None, 5, TIME_MS + 9), ("east", 5, TIME_MS)}
    assert set(places) == expected
    assert len(places) == len(expected)
    assert await lookup.by_uuid(archive.database, CLIENT_UUID) is None


async def test_an_object_that_changed_is_never_given_out(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore
) -> None:
    await writer.store([a_message()])
    (row,) = await archive.rows()
    data = await lookup.read_object(objects, row)
    await objects.put(row.key, data[:-1] + b"\1")
    with pytest.raises(Damaged, match="CRC-32"):
        await lookup.read_message(objects, row)
    await objects.put(row.key, data + b"\0")
    with pytest.raises(Damaged, match="size"):
        await lookup.read_message(objects, row)
    await objects.delete(row.key)
    with pytest.raises(NotFound):
        await lookup.read_message(objects, row)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"value": b"else"}, "payload"),
        ({"key": b"else"}, "key"),
        ({"topic": "else"}, "topic"),
        ({"timestamp_ms": 1}, "timestamp"),
        ({"headers": (("title", b"else"),)}, "header title"),
        ({"headers": None}, "number of headers"),
    ],
)
async def test_a_difference_from_what_was_received_never_passes_verification(
    changed: dict[str, object], field: str, writer: ArchiveWriter, archive: Archive
) -> None:
    sent: dict[str, object] = {"value": b"sent", "headers": (("title", b"T"),)}
    (outcome,) = await writer.store([a_message(0, **sent)])  # type: ignore[arg-type]
    assert outcome.uuid is not None
    received = a_message(0, **(sent | changed))  # type: ignore[arg-type]
    with pytest.raises(Damaged, match=f"{outcome.uuid}, {field}"):
        await verify_message(archive.objects, archive.database, received, outcome.uuid)


_texts = st.text(max_size=20) | st.sampled_from(["\0", "a\0b", "\U0010ffff"])
_headers = st.lists(
    st.tuples(
        st.sampled_from(["_id", "_format", "_sender", "title", "file_name", "x"]) | _texts,
        st.none() | st.binary(max_size=20) | _texts.map(str.encode),
    ),
    max_size=5,
).map(tuple)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            a_message,
            st.integers(0, 2**63 - 1),
            value=st.none() | st.binary(max_size=50),
            key=st.none() | st.binary(max_size=20) | _texts.map(str.encode),
            headers=st.none() | _headers,
            timestamp_ms=st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=8,
    )
)
async def test_no_message_is_ever_too_strange_to_store(
    writer: ArchiveWriter, archive: Archive, batch: list[Message]
) -> None:
    outcomes = await writer.store(batch)
    assert not [outcome.reason for outcome in outcomes if outcome.refused]
    for message, outcome in zip(batch, outcomes, strict=True):
        if outcome.stored and outcome.uuid is not None:
            await verify_message(archive.objects, archive.database, message, outcome.uuid)


async def test_serial_numbers_follow_the_partition(writer: ArchiveWriter, archive: Archive) -> None:
    """Messages of one millisecond are listed in the order of (time, serial number)."""
    outcomes = await writer.store([with_id(n, uuid=uuid4(), value=b"%d" % n) for n in range(30)])
    assert all(outcome.stored for outcome in outcomes)
    assert [row.kafka_offset for row in await archive.rows()] == list(range(30))
