"""What documents of several families are made of: authors, versions, digests, names that may be fields."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pipeline.errors import EventInvalid
from pipeline.events import times
from pipeline.events.parts import Author
from pipeline.index import security

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def version_of(timestamp: str) -> int:
    """Return what orders the documents of one id: microseconds since 1970, nothing before that."""
    return max(0, (times.parse(timestamp) - _EPOCH) // _MICROSECOND)


def md5(text: str | bytes) -> str:
    """Return the MD5 digest that keys of documents are made with; nothing is protected by it."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def given(part: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a part that hold something; empty texts, zeros and empty lists are left out."""
    return {name: value for name in part.__struct_fields__ if (value := getattr(part, name))}


def author_fields(author: Author, default_security: str) -> dict[str, Any]:
    """Return an author with its security in normal form."""
    fields = given(author)
    label = security.normalise(author.security, default_security)
    return {**fields, "security": label} if label else fields


def author_name(author: Author) -> str:
    """Return an author without its version, because a newer version replaces the older one's documents."""
    return f"{author.category}.{author.name}"


def field_names(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """Return pairs under names that can stand in a document.

    OpenSearch reads dots as levels, even in objects it does not index, and refuses empty names; so dots
    become underscores, and so does nothing at all.
    """
    return {name.replace(".", "_") if name.strip() else "_": value for name, value in pairs.items()}


def invalid(what: str, why: str) -> EventInvalid:
    """Return the error of an event that can have no document."""
    return EventInvalid(f"make a document of {what}", why)
