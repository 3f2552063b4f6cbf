"""Parts of feature values that can be searched by themselves: numbers, times, paths, parts of addresses.

Contract: metastore section 3.4 (enrichment by type).
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlparse

from pipeline.events import times
from pipeline.index import values

_ANY_SCHEME: Final = "any://"
_PATH_MAX_CHARACTERS: Final = 8000
"""Each level of a path is a term with all levels above it, and a term has at most 32,766 bytes."""
_TEXT_PARTS: Final = ("netloc", "params", "query", "fragment", "username", "password", "hostname")


def enrich(kind: str, value: str) -> dict[str, Any]:
    """Return the parts of a feature's value by its type; a type without parts gives none.

    Raises:
        ValueError: The value is not of its type.
    """
    enricher = _ENRICHERS.get(kind)
    return enricher(value) if enricher else {}


def _integer(value: str) -> dict[str, Any]:
    return {"integer": values.whole("long", int(value))}


def _float(value: str) -> dict[str, Any]:
    return {"float": values.fraction(float(value))}


def _binary(value: str) -> dict[str, Any]:
    return _given(binary_string=base64.b64decode(value, validate=True).decode(errors="ignore"))


def _datetime(value: str) -> dict[str, Any]:
    moment = dt.datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return {"datetime": times.text_of(moment)}


def _filepath(value: str) -> dict[str, Any]:
    backslash, slash = value.find("\\"), value.find("/")
    if backslash >= 0 and (slash < 0 or backslash < slash):
        value = value.replace("\\", "/")
    return _given(filepath=_path(value))


def _path(value: str) -> str:
    """Return a path that can be cut into its levels; nothing when it is longer than a term may be."""
    return value if len(value) <= _PATH_MAX_CHARACTERS else ""


def _uri(value: str) -> dict[str, Any]:
    has_scheme = "://" in value
    uri = urlparse(value if has_scheme else _ANY_SCHEME + value)
    parts = _given(
        scheme=uri.scheme if has_scheme else "",
        filepath=_path(uri.path),
        **{name: getattr(uri, name) for name in _TEXT_PARTS},
    )
    if uri.port is not None:
        parts["port"] = uri.port
    if uri.hostname:
        with contextlib.suppress(ValueError):  # most hosts are names
            parts["ip"] = values.address(uri.hostname)
    return parts


def _given(**parts: str | None) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part}


_ENRICHERS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "integer": _integer,
    "float": _float,
    "binary": _binary,
    "datetime": _datetime,
    "filepath": _filepath,
    "uri": _uri,
}
