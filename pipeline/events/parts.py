"""The parts events are made of. Contract: dispatcher section 4.1, field by field."""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.shape import (
    Part,
    UInt32,
    UInt64,
    always,
    always_list,
    always_number,
    always_text,
    optional_map,
)


class Author(Part, frozen=True):
    """Who did something: a plugin, a user."""

    name: str = always_text()
    version: str = ""
    category: str = ""
    security: str = ""


class PathNode(Part, frozen=True):
    """One hop of a source's path."""

    author: Author = always(Author)
    action: str = always_text()
    sha256: str = always_text()
    relationship: dict[str, str] = optional_map()
    timestamp: str = msgspec.field(default_factory=times.zero)
    file_format: str = ""
    size: UInt64 = 0
    filename: str = ""
    language: str = ""


class Source(Part, frozen=True):
    """Where a binary came from: the feed, its references, and the hops since, oldest first."""

    name: str = always_text()
    references: dict[str, str] = optional_map()
    security: str = ""
    path: tuple[PathNode, ...] = always_list()
    timestamp: str = msgspec.field(default_factory=times.zero)
    settings: dict[str, str] = optional_map()


class Feature(Part, frozen=True):
    """One thing found out about a binary; `value` is always text."""

    name: str = always_text()
    value: str = always_text()
    type: str = always_text()
    label: str = ""
    size: UInt64 = 0
    offset: UInt64 = 0


class Datastream(Part, frozen=True):
    """Bytes stored for a binary under a label, and what is known about them."""

    identify_version: UInt32 = 0
    label: str = always_text()
    size: UInt64 = always_number()
    sha512: str = always_text()
    sha256: str = always_text()
    sha1: str = always_text()
    md5: str = always_text()
    ssdeep: str = ""
    tlsh: str = ""
    mime: str = always_text()
    magic: str = always_text()
    file_format: str = ""
    file_extension: str = ""
    language: str = ""
