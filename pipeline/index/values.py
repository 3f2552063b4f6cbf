"""Field values in the one form both indices compare: text, whole numbers, fractions, times, addresses.

A time is its milliseconds since 1970 UTC, as OpenSearch keeps it. What a document may hold and what a query
may ask for are checked here by the same rules that the server applies to its mapping (``coerce`` off).
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import math
import re
from typing import Any, Final, Literal


class Unfit(ValueError):
    """A value does not fit the type of its field."""


Kind = Literal[
    "keyword", "join", "integer", "long", "unsigned_long", "double", "date", "boolean", "ip", "stored"
]
"""Mapping types that can be searched; ``stored`` stands for all others."""
Canonical = str | int | float | bool

WHOLE: Final[dict[str, tuple[int, int]]] = {
    "integer": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsigned_long": (0, 2**63 - 1),
}
"""Smallest and largest value of each type of whole number.

An ``unsigned_long`` could be twice as large; no size reaches 8 EiB and SQLite has no room for it.
"""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EARLIEST: Final = -62_135_596_800_000
_LATEST: Final = 253_402_300_799_999
_TIME: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r"(Z|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII,
)
_EPOCH_MILLISECONDS: Final = re.compile(r"-?\d{5,15}", re.ASCII)


@functools.lru_cache(maxsize=4096)
def milliseconds(text: str) -> int:
    """Read an ISO 8601 time of any precision down from the year; without a zone it is UTC.

    Finer parts are cut off, not rounded. A number of five or more digits is milliseconds already. Cached,
    because the documents of one submission share their times.

    Raises:
        Unfit: It is not a time.
    """
    if _EPOCH_MILLISECONDS.fullmatch(text):
        return int(text)
    match = _TIME.fullmatch(text)
    if match is None:
        raise Unfit(f"{text[:64]!r} is not a time like 2024-03-14T09:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = dt.datetime(
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        tzinfo=dt.UTC,
    )
    whole = (moment - _offset(zone) - _EPOCH) // _MILLISECOND
    return whole + int(((fraction or "") + "000")[:3])


def _offset(zone: str | None) -> dt.timedelta:
    if zone is None or zone == "Z":
        return dt.timedelta()
    digits = zone[1:].replace(":", "")
    span = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -span if zone[0] == "-" else span


def time_text(epoch_milliseconds: int) -> str:
    """Write milliseconds since 1970 as OpenSearch does: ``2024-03-14T09:00:00.000Z``."""
    moment = _EPOCH + epoch_milliseconds * _MILLISECOND
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def keyword(value: Any) -> str:
    """Take text; other scalars become their JSON text.

    Raises:
        Unfit: It is no scalar.
    """
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise Unfit("it takes a text")


def too_long(text: str, ignore_above: int) -> bool:
    """Tell whether a text is longer than a field keeps, counted in UTF-16 units as the server does."""
    if len(text) > ignore_above:
        return True
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 > ignore_above


def whole(kind: str, value: Any) -> int:
    """Take a whole number within the bounds of its type.

    Raises:
        Unfit: It is none, or out of bounds.
    """
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise Unfit("it takes a whole number")
    smallest, largest = WHOLE[kind]
    if not smallest <= number <= largest:
        raise Unfit(f"{number} is not within {smallest} and {largest}")
    return number


def fraction(value: Any) -> float:
    """Take a number.

    Raises:
        Unfit: It is none, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("it takes a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise Unfit(str(error)) from None
    if not math.isfinite(number):
        raise Unfit("it takes a finite number")
    return number + 0.0  # no -0.0, which would be another value than 0.0 to one index only


def time(value: Any) -> int:
    """Take a time as text or as milliseconds since 1970.

    Raises:
        Unfit: It is none.
    """
    if isinstance(value, str):
        value = milliseconds(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("it takes a time")
    if not _EARLIEST <= value <= _LATEST:
        raise Unfit("it takes a time within the years 1 to 9999")
    return value


def boolean(value: Any) -> bool:
    """Take a truth value or its JSON text.

    Raises:
        Unfit: It is none.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise Unfit("it takes true or false")


def address(value: Any) -> str:
    """Take an IP address and return its usual spelling.

    Raises:
        Unfit: It is none.
    """
    if not isinstance(value, str) or "%" in value:
        raise Unfit("it takes an IP address")
    found = ipaddress.ip_address(value)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def relation(value: Any) -> str:
    """Take a join field: the relation's name, alone or beside the parent.

    Raises:
        Unfit: It is neither.
    """
    name = value.get("name") if isinstance(value, dict) else value
    if name not in ("binary", "metadata"):
        raise Unfit("it takes binary or metadata")
    return str(name)
