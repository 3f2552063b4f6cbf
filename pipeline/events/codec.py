"""Events from bytes and to bytes.

* `decode_posted`: what a client sent. One thing undecodable or outdated refuses the whole request; an event
  that decodes and breaks a rule fails alone.
* `decode_stored`: one value of a topic, upgraded to the current version.
* `encode`: the normal form, for topics and for clients. `encode_as_posted`: the same with times as posted,
  for the answer to a post.

Decoders are made once per model; the usual way decodes each byte once. Contract: dispatcher sections 4,
6, 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, cast, overload

import msgspec

from pipeline import limits
from pipeline.errors import EventCorrupt, TooLarge
from pipeline.events import forms, tolerant, validity, versions
from pipeline.events.binary import BinaryEvent
from pipeline.events.models import STRUCTS, Event, Model, model_named, model_of
from pipeline.events.status import StatusEvent

_ENCODER: Final = msgspec.json.Encoder()
_ONE: Final = {model: msgspec.json.Decoder(struct) for model, struct in STRUCTS.items()}
_MANY: Final = {model: msgspec.json.Decoder(list[struct]) for model, struct in STRUCTS.items()}  # type: ignore[valid-type]

_EMPTY_MAX_BYTES = len(b"[]")
_WHITE_SPACE = b" \t\r\n"
_FAILURE_PREFIX = "innerNewMsgInFlight "


class Failure(msgspec.Struct, frozen=True):
    """An event that was not accepted: its JSON text as posted, and why."""

    event: str
    error: str


class Posted(NamedTuple):
    """What came of a request: the valid events in order, and the failures."""

    events: list[Event]
    failures: list[Failure]


def decode_posted(model: str, body: bytes, fault: Callable[[Event], str | None] = validity.fault) -> Posted:
    """Decode what a client posted: one event, or a list of events, of one model.

    The events come back in posted form: computed fields still hold what the client sent. `fault` says why
    an event is not accepted.

    Raises:
        NotFound: No such model.
        EventCorrupt: Not JSON, empty, or something in it does not decode into the model.
        EventOutdated: An event's model version is too old or missing.
        EventInvalid: An event's model version is newer than ours.
    """
    kind = model_named(model)
    body = body.strip(_WHITE_SPACE)
    if len(body) <= _EMPTY_MAX_BYTES:
        raise _corrupt(kind, "there is no event in it")
    decoded = _decode_body(kind, body)
    events = decoded.events
    for event in events:
        versions.check_posted(event.model_version)
    accepted: list[Event] = []
    faults: list[tuple[int, str]] = []
    for index, event in enumerate(events):
        tidied = forms.as_posted(event)
        reason = fault(tidied)
        if reason is None:
            accepted.append(tidied)
        else:
            faults.append((index, reason))
    return Posted(accepted, _failures(decoded.body, faults) if faults else [])


class _Decoded(NamedTuple):
    """The events of a request, and the body they came from: the one posted, or that one mended."""

    events: list[Event]
    body: bytes


def _decode_body(model: Model, body: bytes) -> _Decoded:
    try:
        return _Decoded(_decode_list(model, body), body)
    except (ValueError, RecursionError) as strict:
        try:
            body = tolerant.mended(body, opaque_entity=model == "retrohunt")
            return _Decoded(_decode_list(model, body), body)
        except (ValueError, RecursionError):
            raise _corrupt(model, f"event message version was too old or was corrupt: {strict}") from strict


def _decode_list(model: Model, body: bytes) -> list[Event]:
    if body[:1] == b"[":
        return cast(list[Event], _MANY[model].decode(body))
    return [_ONE[model].decode(body)]


def _failures(body: bytes, faults: list[tuple[int, str]]) -> list[Failure]:
    """Pick the texts of the events that failed out of the body they were decoded from."""
    raws = msgspec.json.decode(body, type=list[msgspec.Raw]) if body[:1] == b"[" else [msgspec.Raw(body)]
    return [failure(bytes(raws[index]).strip(), reason) for index, reason in faults]


def failure(text: bytes, reason: str) -> Failure:
    """Note that an event was not accepted.

    Args:
        text: Its JSON.
        reason: The rule it breaks.
    """
    return Failure(text.decode(errors="replace"), _FAILURE_PREFIX + reason)


def _corrupt(model: str, why: str) -> EventCorrupt:
    return EventCorrupt(
        f"decode posted {model} events", f"ensure events were in json format: {why}", "correct the client"
    )


@overload
def decode_stored(model: Literal["binary"], value: bytes | None) -> BinaryEvent | None: ...
@overload
def decode_stored(model: Literal["status"], value: bytes | None) -> StatusEvent | None: ...
@overload
def decode_stored(model: str, value: bytes | None) -> Event | None: ...
def decode_stored(model: str, value: bytes | None) -> Event | None:
    """Decode one value of a topic and upgrade it; a tombstone (no value) gives None.

    Times are trusted to be in normal form, as `encode` wrote them; whoever reads one meets a bad one.

    Raises:
        NotFound: No such model.
        EventCorrupt: It does not decode into its model.
        EventOutdated: Its version is older than anything ever stored.
        EventInvalid: Its version is newer than ours.
    """
    if not value:
        return None
    try:
        event = _ONE[model_named(model)].decode(value)
    except (ValueError, RecursionError) as error:
        raise EventCorrupt(f"read a stored {model} event", str(error)) from error
    return versions.upgraded(event)


def encode(event: Event) -> bytes:
    """Encode an event in normal form, as topics hold it and clients receive it.

    Raises:
        TooLarge: It is above `limits.EVENT_MAX_BYTES`.
        EventCorrupt: A time in it cannot be read.
    """
    encoded = encode_as_posted(forms.normal(event))
    if len(encoded) > limits.EVENT_MAX_BYTES:
        raise TooLarge(
            f"encode a {model_of(event)} event",
            f"it has {len(encoded)} bytes, the limit is {limits.EVENT_MAX_BYTES}",
            "leave out features or info, or store them as a stream",
        )
    return encoded


def encode_as_posted(event: Event) -> bytes:
    """Encode an event with its times as they are: posted offset and precision kept."""
    return _ENCODER.encode(event)
