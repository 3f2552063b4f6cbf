"""Numbered messages in every shape that Kafka allows, the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from uuid import UUID, uuid5

from pipeline.log.port import Headers, NewRecord

START_MS = 1_700_000_000_000
MESSAGE_BYTES = 256
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def client_uuid(topic: str, number: int) -> bytes:
    """Give the `_id` a client would choose for a message."""
    return uuid5(_NAMESPACE, f"{topic}/{number}").bytes


def _headers(topic: str, number: int) -> Headers:
    own = client_uuid(topic, number)
    shapes: tuple[Headers, ...] = (
        (("_id", own), ("_sender", b"demo-user"), ("_format", b"json")),
        (),
        (("title", b"T"), ("_format", b"blob")),
        (("key", b"v1"), ("key", b"v3"), ("key", b"v3"), ("_id", own)),
        (("none", None), ("_id", own)),
        (("empty", b""), ("binary", bytes(range(256)))),
        (("_id", str(UUID(bytes=own)).encode()), ("_sender", b"text id")),
        (("_id", None), ("_id", b"text"), ("_id", b""), ("_id", own)),
        (("_id", own), ("_id", client_uuid(topic, -1)), ("_id", client_uuid(topic, -2))),
        # The same uuid for different messages: all but one get another.
        (("_id", client_uuid(topic, number - number % 100)), ("n", b"%d" % number)),
        (("na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve", "\N{SNOWMAN}".encode()), ("_format", b"voevent")),
    )
    return shapes[number % len(shapes)]


def _value(number: int) -> bytes | None:
    if number % 50 == 7:
        return None
    if number % 50 == 8:
        return b""
    fill = hashlib.shake_128(b"%d" % number).digest(number % MESSAGE_BYTES)
    return b'{"number": %d}' % number + fill


def message(topic: str, number: int, partition: int) -> NewRecord:
    """Make one message; its key says its number where its value does not."""
    key = None if number % 3 == 0 and _value(number) else b"%d" % number
    return NewRecord(topic, key, _value(number), _headers(topic, number), partition, START_MS + number)


def messages(topics: list[str], partitions: int, numbers: range) -> Iterator[NewRecord]:
    """Make messages for all topics in turn, in order within each partition."""
    for number in numbers:
        topic = topics[number % len(topics)]
        yield message(topic, number, number // len(topics) % partitions)
