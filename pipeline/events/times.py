"""Times of events as text: RFC 3339, kept as posted or brought to normal form.

Events hold times as text because the posted offset and nanoseconds matter after decoding: the Kafka key and
the links use the posted offset, the answer to a post repeats the posted precision. Three forms:

* *any*: what clients may send, RFC 3339 section 5.6 with any offset;
* *posted*: the same instant and offset, at most nine fraction digits, no trailing zeros, UTC as ``Z``;
* *normal*: UTC (``Z``), truncated to microseconds. What is stored on topics, and all that leaves by fetch.

Contract: dispatcher section 4 (common rules).
"""

from __future__ import annotations

import datetime as dt
import re

from pipeline.errors import EventCorrupt

ZERO = "0001-01-01T00:00:00Z"
"""A time nobody set, as the contract writes it."""

_SECONDS_LENGTH = len("2026-11-01T10:20:30")
_NORMAL_MAX_LENGTH = len("2026-11-01T10:20:30.123456Z")
_ANY = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)

_USUAL = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(?:\.\d{0,8}[1-9])?Z",
    re.ASCII,
)
"""Most times: in posted form already, UTC, on a day every month has."""


def zero() -> str:
    """Give `ZERO`; a default factory."""
    return ZERO


def posted(text: str) -> str:
    """Check a time a client sent and return its posted form.

    Raises:
        EventCorrupt: It is not an RFC 3339 time, or not within the years 1 to 9999 in UTC.
    """
    if _USUAL.fullmatch(text):
        return text
    match = _ANY.fullmatch(text)
    if match is None:
        raise _corrupt(text, "it is not an RFC 3339 time with an offset")
    date, clock, fraction, zone = match.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{date}T{clock}+00:00" if zone in "Zz" else text)
        moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise _corrupt(text, str(error)) from error
    fraction = fraction[:9].rstrip("0") if fraction else ""
    zone = "Z" if zone in ("z", "+00:00", "-00:00") else zone
    form = f"{date}T{clock}.{fraction}{zone}" if fraction else f"{date}T{clock}{zone}"
    return text if form == text else form


def normal(text: str) -> str:
    """Bring a time in posted form to normal form; returns the same object when it is in it already.

    Raises:
        EventCorrupt: It is not a time.
    """
    if text[-1:] == "Z":
        length = len(text)
        if length == _SECONDS_LENGTH + 1 or (
            _SECONDS_LENGTH + 2 < length <= _NORMAL_MAX_LENGTH and text[-2] != "0"
        ):
            return text
    return text_of(parse(text))


def parse(text: str) -> dt.datetime:
    """Return the moment of a time in any form, in UTC, truncated to microseconds.

    Raises:
        EventCorrupt: It is not a time with an offset.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise _corrupt(text, "it has no offset")
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise _corrupt(text, str(error)) from error


def text_of(moment: dt.datetime) -> str:
    """Write a moment in normal form. It must have a zone."""
    assert moment.tzinfo is not None, "a moment without its zone is not a moment"  # noqa: S101 - a bug
    moment = moment.astimezone(dt.UTC)
    text = moment.replace(tzinfo=None, microsecond=0).isoformat()
    if not moment.microsecond:
        return text + "Z"
    return f"{text}.{moment.microsecond:06d}".rstrip("0") + "Z"


def _corrupt(text: str, why: str) -> EventCorrupt:
    return EventCorrupt(f"read the time {text[:64]!r}", why, "send it like 2026-11-01T10:20:30.5Z")
