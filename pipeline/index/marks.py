"""Page marks: where a page of hits ended, as text for the one who asks for the next.

A mark holds the sort values of the last hit and a digest of the search it belongs to. It is opaque but not
secret: whoever changes it gets another page or a `QueryError`, never anything the search would not show.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.index.query import Condition, Family, Query

Value = str | int | float | bytes | None

_DIGEST_BYTES = 8
_TRIED = "turn to the next page"
_TODO = "search again from the first page"


def make_mark(family: Family, query: Query, condition: Condition, values: Sequence[Value]) -> str:
    """Write the mark of a page that ended at a document with these sort values, the last of them its id."""
    packed = msgspec.msgpack.encode((_digest(family, query, condition), list(values)))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_mark(family: Family, query: Query, condition: Condition) -> list[Value] | None:
    """Return the sort values in the mark of a query, None when it asks for its first page.

    Raises:
        QueryError: The mark is damaged or belongs to another search.
    """
    if query.after is None:
        return None
    try:
        digest, values = _unpacked(query.after)
    except (ValueError, msgspec.DecodeError) as error:
        raise not_ours() from error
    if digest != _digest(family, query, condition):
        raise QueryError(_TRIED, "the page mark belongs to another search", _TODO)
    if len(values) != len(query.sort) + 1 or not isinstance(values[-1], str):
        raise not_ours()
    return values


def not_ours() -> QueryError:
    """Return the error of a mark that none of our pages ended with."""
    return QueryError(_TRIED, "the page mark is not one of ours", _TODO)


def _unpacked(mark: str) -> tuple[bytes, list[Value]]:
    if len(mark) > limits.PAGE_MARK_MAX_CHARACTERS:
        raise ValueError(mark[:64])
    padded = mark.encode() + b"=" * (-len(mark) % 4)
    packed = base64.b64decode(padded, altchars=b"-_", validate=True)
    digest, values = msgspec.msgpack.decode(packed, type=tuple[bytes, list[Any]])
    if not all(isinstance(value, Value) for value in values):
        raise ValueError(mark[:64])
    return digest, values


def _digest(family: Family, query: Query, condition: Condition) -> bytes:
    text = msgspec.json.encode((family, condition, query.sort))
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
