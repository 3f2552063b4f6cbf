"""The archived object, byte by byte (archive contract, sections 7 and 18)."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from uuid import UUID

import bson as driver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive import bson
from pipeline.archive.annotations import add_ours, base
from pipeline.archive.identity import identify
from pipeline.archive.message import Message
from pipeline.errors import BadInput, Damaged
from pipeline.log.port import Headers
from tests.archive.archived import CLIENT_UUID, TIME_MS, TOPIC

SECOND_GENERATION = bytes.fromhex(
    "29020000056d6573736167650008000000007b2261223a20317d036d6574616461746100f60000001274696d657374616d70007b68e5"
    "cf8b010000046865616465727300b200000004300028000000023000040000005f69640005310010000000000123456789ab4cde8f01"
    "23456789abcd0004310025000000023000080000005f73656e64657200053100090000000064656d6f2d757365720004320020000000"
    "023000080000005f666f726d61740005310004000000006a736f6e000433001c000000023000060000007469746c6500053100020000"
    "000054310004340015000000023000060000006e756c6c68000a31000000056b65790002000000006b3102746f706963000c00000061"
    "6c657274732e64656d6f000003616e6e6f746174696f6e73000101000002636f6e5f746578745f757569640025000000303132333435"
    "36372d383961622d346364652d386630312d3233343536373839616263640008636f6e5f69735f636c69656e745f7575696400011263"
    "6f6e5f6d6573736167655f637263333200978ea1fb00000000087075626c69630001086469726563745f75706c6f61640000026d6564"
    "69615f7479706500110000006170706c69636174696f6e2f6a736f6e00027469746c6500030000005431000273656e646572000a0000"
    "0064656d6f2d75736572000266696c655f6e616d65000100000000026f726967696e61746f7200010000000008746578745f66756c6c"
    "795f696e646578656400010000"
)
HEADERS: Headers = (
    ("_id", CLIENT_UUID.bytes),
    ("_sender", b"demo-user"),
    ("_format", b"json"),
    ("title", b"T1"),
    ("nullh", None),
)
MESSAGE = Message(TOPIC, None, None, TIME_MS, b"k1", b'{"a": 1}', HEADERS)


def _encoded(message: Message, annotations: dict[str, object]) -> bson.Encoded:
    return bson.encode(
        message.payload,
        timestamp_ms=message.timestamp_ms,
        headers=identify(message).headers,
        key=message.key,
        topic=message.topic,
        annotations=annotations,
    )


def test_the_second_generations_object_is_written_byte_for_byte() -> None:
    notes = base(
        MESSAGE,
        uuid=CLIENT_UUID,
        is_client_uuid=True,
        crc32=4221669015,
        public=True,
        media_type="application/json",
        texts=identify(MESSAGE).said.texts,
    )
    encoded = _encoded(MESSAGE, {**notes, "text_fully_indexed": True})
    assert encoded.joined() == SECOND_GENERATION
    assert (encoded.size_bytes, encoded.crc32()) == (553, 1764557999)
    assert hashlib.sha256(encoded.joined()).hexdigest() == (
        "ced87c000af915cdbb619890092b9d7ec2ba72a178ebd2149c69a32d9d52c29f"
    )


def test_an_object_with_a_made_up_id_is_written_byte_for_byte() -> None:
    message = Message(TOPIC, 2, 41, TIME_MS, None, b"hello", (("title", b"T2"),))
    identity = identify(message)
    assert identity.uuid == UUID("4509fb46-46a9-54c6-8ed3-0d23252a9d8c")
    notes = base(
        message,
        uuid=identity.uuid,
        is_client_uuid=False,
        crc32=zlib.crc32(b"hello"),
        public=True,
        media_type="text/plain",
        texts=identity.said.texts,
    )
    add_ours(notes, message, identity.added)
    encoded = _encoded(message, notes)
    assert (encoded.size_bytes, encoded.crc32()) == (477, 2663892079)
    assert hashlib.sha256(encoded.joined()).hexdigest() == (
        "ec70e11249b1d932fce4276110598d6c3c93f309c8eae08ed0151550cf325b25"
    )


def _first_generation() -> bytes:
    """Make the object of section 18.3 with the driver, since nothing of ours writes that layout."""
    return driver.encode(
        {
            "message": {"format": "json", "content": b'{"a": 1}'},
            "metadata": {
                "timestamp": TIME_MS,
                "headers": [["_id", CLIENT_UUID.bytes], ["_sender", b"demo-user"]],
                "topic": TOPIC,
            },
            "annotations": {
                "con_text_uuid": str(CLIENT_UUID),
                "con_is_client_uuid": True,
                "con_message_crc32": 4221669015,
                "duplicate": False,
            },
        }
    )


def test_the_first_generations_object_is_read() -> None:
    data = _first_generation()
    assert len(data) == 346
    assert hashlib.sha256(data).hexdigest() == (
        "811adceeb9568d18e1c4111cca1997023e4b0e48f46fa9b454ae57121123eda4"
    )
    found = bson.decode(data)
    assert (found.layout, found.label, found.payload) == (1, "json", b'{"a": 1}')
    assert (found.timestamp_ms, found.topic, found.key) == (TIME_MS, TOPIC, None)
    assert found.headers == HEADERS[:2]
    assert bytes(bson.payload_of(data)) == b'{"a": 1}'


def test_an_empty_text_in_place_of_a_null_header_is_read_as_bytes() -> None:
    whole = driver.decode(_first_generation())
    whole["metadata"]["headers"].append(["nullh", ""])
    found = bson.decode(driver.encode(whole))
    assert found.headers is not None
    assert found.headers[-1] == ("nullh", b"")


def test_the_second_generations_object_is_read() -> None:
    found = bson.decode(SECOND_GENERATION)
    assert (found.layout, found.label, found.value) == (2, None, b'{"a": 1}')
    assert (found.headers, found.key) == (HEADERS, b"k1")
    assert found.headers_as_sent() == HEADERS
    assert bytes(bson.payload_of(SECOND_GENERATION)) == b'{"a": 1}'


def test_a_text_key_and_missing_headers_are_read() -> None:
    whole = driver.decode(SECOND_GENERATION)
    whole["metadata"].update(key="k1", headers=None)
    found = bson.decode(driver.encode(whole))
    assert (found.key, found.headers) == ("k1", None)


def test_the_payload_is_found_behind_other_elements() -> None:
    whole = driver.decode(SECOND_GENERATION)
    moved = {"n": 1, "r": 0.5, "t": "text", "none": None, "l": [1], **whole, "message": b"last"}
    moved["message"] = moved.pop("message")
    assert bytes(bson.payload_of(driver.encode(moved))) == b"last"


@given(st.integers(0, len(SECOND_GENERATION) - 1))
def test_a_cut_off_object_is_never_read_as_a_message(length: int) -> None:
    with pytest.raises(Damaged):
        bson.decode(SECOND_GENERATION[:length])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_object_never_raise_anything_but_damaged(data: bytes) -> None:
    for read in (bson.decode, bson.payload_of):
        with pytest.raises(Damaged):
            read(data)


@given(st.integers(0, len(SECOND_GENERATION) - 1), st.integers(0, 255))
def test_one_changed_byte_never_raises_anything_but_damaged(position: int, byte: int) -> None:
    changed = bytearray(SECOND_GENERATION)
    changed[position] = byte
    for read in (bson.decode, bson.payload_of):
        with contextlib.suppress(Damaged):
            read(bytes(changed))


@pytest.mark.parametrize("missing", ["message", "metadata"])
def test_an_object_without_its_parts_is_damaged(missing: str) -> None:
    whole = driver.decode(SECOND_GENERATION)
    del whole[missing]
    with pytest.raises(Damaged, match="archived"):
        bson.decode(driver.encode(whole))


_header_lists = st.none() | st.lists(
    st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=40)), max_size=6
).map(tuple)


@given(
    payload=st.binary(max_size=300),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    headers=_header_lists,
    key=st.none() | st.binary(max_size=40),
)
def test_what_was_written_is_read_back_and_equals_the_drivers_own_encoding(
    payload: bytes, timestamp_ms: int, headers: Headers | None, key: bytes | None
) -> None:
    notes = {"con_text_uuid": str(CLIENT_UUID), "null_payload": False}
    encoded = bson.encode(
        payload, timestamp_ms=timestamp_ms, headers=headers, key=key, topic=TOPIC, annotations=notes
    )
    listed = None if headers is None else [list(header) for header in headers]
    metadata = {"timestamp": timestamp_ms, "headers": listed, "key": key, "topic": TOPIC}
    data = encoded.joined()
    assert data == driver.encode({"message": payload, "metadata": metadata, "annotations": notes})
    assert encoded.payload is payload
    assert (encoded.size_bytes, encoded.crc32()) == (len(data), zlib.crc32(data))
    found = bson.decode(data)
    assert (found.payload, found.timestamp_ms, found.headers, found.key) == (
        payload,
        timestamp_ms,
        headers,
        key,
    )


async def test_chunks_together_are_the_whole_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.limits.CHUNK_BYTES", 7)
    encoded = bson.encode(
        bytes(range(100)), timestamp_ms=1, headers=None, key=None, topic=TOPIC, annotations={}
    )
    assert b"".join([chunk async for chunk in encoded.chunks()]) == encoded.joined()


def test_a_header_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadInput, match=TOPIC):
        bson.encode(b"", timestamp_ms=1, headers=(("\udcff", b""),), key=None, topic=TOPIC, annotations={})
