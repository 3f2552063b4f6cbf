"""Canonical values as SQLite keeps and compares them.

Numbers and times are numbers, truth values are 0 and 1, addresses are their sixteen bytes so that they sort
as OpenSearch sorts them; everything else is text, compared by its UTF-8 bytes.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import Any, Final

from pipeline.index import values
from pipeline.index.values import Canonical, Kind

SqlValue = str | int | float | bytes


def _address_bytes(value: Any) -> bytes:
    found = ipaddress.ip_address(values.address(value))
    if isinstance(found, ipaddress.IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + found.packed
    return found.packed


ENCODERS: Final[dict[Kind, Callable[[Any], SqlValue]]] = {
    "keyword": values.keyword,
    "join": values.relation,
    "integer": functools.partial(values.whole, "integer"),
    "long": functools.partial(values.whole, "long"),
    "unsigned_long": functools.partial(values.whole, "unsigned_long"),
    "double": values.fraction,
    "date": values.time,
    "boolean": lambda value: int(values.boolean(value)),
    "ip": _address_bytes,
}
"""How a value of each type is checked and stored; each raises `values.Unfit`."""


def sql_value(kind: Kind, value: Canonical) -> SqlValue:
    """Return a checked value of a query as it is stored."""
    return _address_bytes(value) if kind == "ip" else value


def value_text(kind: Kind, stored: SqlValue) -> str:
    """Return a stored value as text, as a grouping names it."""
    match kind:
        case "date":
            return values.time_text(int(stored))
        case "boolean":
            return "true" if stored else "false"
        case "ip":
            address = ipaddress.IPv6Address(stored)
            return str(address.ipv4_mapped or address)
        case _:
            return str(stored)
