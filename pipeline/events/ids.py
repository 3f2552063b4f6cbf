"""Ids the server computes: the Kafka key of an event, and the dequeued id of a task.

The key is the MD5 of a descriptor text; equal descriptors mean that one event replaces the other. It is an
id, not a protection. Contract: dispatcher sections 5.1, 5.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from pipeline.errors import EventInvalid
from pipeline.events.binary import BinaryEvent
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.plugin import PluginEvent
from pipeline.events.status import StatusEvent

E = TypeVar("E", bound=Event)
RandomBytes = Callable[[int], bytes]
"""Gives that many random bytes: `os.urandom`, or a seeded source in a test."""

_RANDOM_KEY_BYTES = 32
_TIME_LENGTH = len("2026-11-01T10:20:30")


def with_key(event: E, random_bytes: RandomBytes) -> E:
    """Return the event with its Kafka key computed; whatever was there is replaced.

    Raises:
        EventInvalid: A binary event without a path has no key.
    """
    return replace(event, kafka_key=kafka_key(event, random_bytes))


def kafka_key(event: Event, random_bytes: RandomBytes) -> str:
    """Compute the Kafka key of an event: 32 lower-case hexadecimal digits.

    Delete, download and retrohunt events get a random one, because none of them replaces another.

    Raises:
        EventInvalid: A binary event without a path has no key.
    """
    text = descriptor(event)
    return md5_hex(random_bytes(_RANDOM_KEY_BYTES) if text is None else text.encode())


def descriptor(event: Event) -> str | None:
    """Return the text an event's key is made of, None when its key is random.

    Raises:
        EventInvalid: A binary event without a path has no key.
    """
    if isinstance(event, BinaryEvent):
        return _binary_descriptor(event)
    match event:
        case StatusEvent():
            return f"{event.entity.input.dequeued}.{event.author.name}"
        case PluginEvent():
            return f"{event.entity.name}.{event.entity.version}"
        case InsertEvent():
            entity = event.entity
            return f"{entity.parent_sha256}.{entity.child.sha256}.{entity.child_history.author.name}"
        case _:
            return None


def _binary_descriptor(event: BinaryEvent) -> str:
    """Join what identifies a binary event, each item followed by a dot.

    Only the parent and the last node of the path take part; the time is cut as posted, not brought to UTC.
    Both are what stored keys were made of.
    """
    source = event.source
    if not source.path:
        raise EventInvalid("compute the key of a binary event", "its source.path is empty")
    items = [source.name, source.security, source.timestamp[:_TIME_LENGTH]]
    for pairs in (source.references, source.settings):
        if pairs:
            items += sorted(_joined(pairs))
    items += sorted({node.author.security for node in source.path if node.author.security})
    for node in source.path[-2:]:
        items += (node.author.name, node.action, node.sha256)
    items.append("")
    return ".".join(items)


def _joined(pairs: Mapping[str, str]) -> list[str]:
    return [f"{key}.{value}" for key, value in pairs.items()]


def md5_hex(data: bytes) -> str:
    """Return the MD5 of `data` as 32 lower-case hexadecimal digits."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Dequeued(NamedTuple):
    """A dequeued id taken apart. `unix_seconds` is None when the id does not end in a time."""

    task: str
    unix_seconds: int | None


def dequeued_id(kafka_key: str, plugin: str, version: str, unix_seconds: float) -> str:
    """Make the id of one try: this event, handed to this plugin and version, in this second."""
    return f"{kafka_key}.{plugin}.{version}.{int(unix_seconds)}"


def parse_dequeued(dequeued: str) -> Dequeued:
    """Take a dequeued id apart; never fails, because clients may invent ids of their own.

    Names and versions contain dots, so only the text after the last dot is read back.
    """
    task, dot, seconds = dequeued.rpartition(".")
    if not dot:
        return Dequeued(dequeued, None)
    numeric = seconds.isascii() and seconds.isdigit() and len(seconds) <= _DIGITS_MAX
    return Dequeued(task, int(seconds) if numeric else None)


_DIGITS_MAX = len(str(2**63))


def task_key(dequeued: str) -> str:
    """Return the part of a dequeued id that all tries of the task share: all but the time."""
    return parse_dequeued(dequeued).task
