"""From an event to the record that stores it."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from pipeline.events.codec import encode
from pipeline.events.ids import RandomBytes, kafka_key
from pipeline.events.models import Event, model_of
from pipeline.events.topic_names import topic_of
from pipeline.events.tracking import with_tracking
from pipeline.log.port import NewRecord

E = TypeVar("E", bound=Event)


def completed(event: E, random_bytes: RandomBytes | None = None) -> E:
    """Return an event ready to be written: with Kafka key and tracking fields computed.

    Without `random_bytes` its key must follow from the event.

    Raises:
        EventInvalid: A binary event without a path has no key.
    """
    key = kafka_key(event, random_bytes or _no_randomness(event))
    return with_tracking(event, kafka_key=key)


class Address(NamedTuple):
    """Where the record of an event belongs; a later one with the same address replaces it."""

    topic: str
    key: bytes


def address_of(prefix: str, event: Event) -> Address:
    """Compute the address of an event whose key follows from it, without making its record.

    Raises:
        EventInvalid: A binary event without a path has no key.
    """
    return Address(topic_of(prefix, event), kafka_key(event, _no_randomness(event)).encode())


def record_of(prefix: str, event: Event) -> NewRecord:
    """Make the record of an event: its topic, its key, its normal form.

    An event without a key is completed first, which needs a model whose key is computed from the event;
    delete, download and retrohunt events must have been `completed` with a random source.

    Raises:
        TooLarge: It is above the limit for one event.
        EventInvalid: A binary event without a path has no key.
    """
    if not event.kafka_key:
        event = completed(event)
    return NewRecord(topic_of(prefix, event), event.kafka_key.encode(), encode(event))


def _no_randomness(event: Event) -> RandomBytes:
    def refuse(_: int) -> bytes:
        raise AssertionError(f"a {model_of(event)} event is given its random key before it is written")

    return refuse
