"""Second chance for posted JSON: what Go's decoder forgives and a strict one does not.

The known clients are tested against a server written in Go, which takes null for "not given", and replaces
bytes that are not UTF-8 and lone surrogates by U+FFFD. A body that fails to decode is mended in these three
ways and tried once more; a body that decodes never comes here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_OPAQUE = frozenset(("info", "metadata"))
"""Fields holding JSON of others, where null has a meaning."""

_MODEL_DEPTH = 10
"""Levels of the deepest model: list, status, entity, results, event, source, path, node, map, value."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([0-9a-fA-F]{4})|.)", re.DOTALL
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_FIRST, _SURROGATE_LAST = 0xD800, 0xDFFF


def mended(body: bytes, *, opaque_entity: bool) -> bytes:
    """Return the body with nulls left out and text that is not Unicode replaced.

    Args:
        body: One JSON document.
        opaque_entity: The model is retrohunt, whose ``entity`` is JSON of others.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    body = body.decode(errors="replace").encode()
    if _SURROGATE.search(body):
        body = _ESCAPE.sub(_without_lone_surrogate, body)
    opaque = _OPAQUE | {"entity"} if opaque_entity else _OPAQUE
    return msgspec.json.encode(_without_nulls(msgspec.Raw(body), opaque, _MODEL_DEPTH))


def _without_lone_surrogate(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is not None and _SURROGATE_FIRST <= int(digits, 16) <= _SURROGATE_LAST:
        return b"\\ufffd"
    return match[0]


def _without_nulls(value: msgspec.Raw, opaque: frozenset[str], depth: int) -> Any:
    """Rebuild objects and lists without null members, leaving every scalar's text as it is.

    Each level is read once more, so what lies deeper than any model is left alone: the cost stays linear.
    """
    if depth == 0:
        return value
    first = bytes(memoryview(value)[:32]).lstrip()[:1]
    if first == b"{":
        members = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        return {
            name: member if name in opaque else _without_nulls(member, opaque, depth - 1)
            for name, member in members.items()
            if bytes(member).strip() != b"null"
        }
    if first == b"[":
        items = msgspec.json.decode(value, type=list[msgspec.Raw])
        return [_without_nulls(item, opaque, depth - 1) for item in items]
    return value
