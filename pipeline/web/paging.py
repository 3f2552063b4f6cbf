"""Pages of a list that lives in memory: sorted, cut, and continued by an opaque mark."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from pipeline.errors import BadInput

T = TypeVar("T")
Place = tuple[float, str]
"""What orders a list: a number, then text that is unique in it."""

_decoder = msgspec.json.Decoder(tuple[float, str])


class Cut(NamedTuple, Generic[T]):
    """One page: its items, how many there are in all, and the mark of the page after."""

    items: list[T]
    total: int
    next: str | None


def cut(items: Iterable[T], place: Callable[[T], Place], *, limit: int, after: str = "") -> Cut[T]:
    """Return the page of at most `limit` items that starts behind the mark.

    What appears or ends between two pages shifts nothing: the mark names a place, not a count.

    Raises:
        BadInput: The mark is none of ours.
    """
    ordered = sorted(items, key=place)
    first = 0 if not after else bisect_right(ordered, _read(after), key=place)
    page = ordered[first : first + limit]
    more = first + limit < len(ordered)
    return Cut(page, len(ordered), _mark(place(page[-1])) if more else None)


def _mark(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read(mark: str) -> Place:
    try:
        padded = mark + "=" * (-len(mark) % 4)
        return _decoder.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadInput(
            "go to a page", "the mark is none this list gave out", "start from the first page"
        ) from error
