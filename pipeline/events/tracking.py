"""Tracking fields: how deletions find what came from a submission, an author or a link.

Set just before an event is written, overwriting what was there. Contract: dispatcher section 5.3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar, cast

from msgspec.structs import replace

from pipeline.events.binary import BinaryEvent
from pipeline.events.ids import md5_hex
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.parts import Author, PathNode, Source

E = TypeVar("E", bound=Event)

_TIME_LENGTH = len("2026-11-01T10:20:30")
_ZONE = slice(-len("+05:30"), -len(":30"))


def with_tracking(event: E) -> E:
    """Return the event with its tracking fields; models that have none come back as they are."""
    match event:
        case BinaryEvent():
            path = event.source.path
            tracked = replace(
                event,
                track_source_references=track_source_references(event.source),
                track_authors=tuple(track_author(node.author) for node in path),
                track_links=tuple(track_link(before.sha256, node) for before, node in pairwise(path)),
            )
            return cast(E, tracked)
        case InsertEvent():
            history = event.entity.child_history
            link = track_link(event.entity.parent_sha256, history)
            return cast(E, replace(event, track_link=link, track_author=track_author(history.author)))
        case _:
            return event


def track_source_references(source: Source) -> str:
    """Name the submissions that share source name and references; the order of references is nothing."""
    references = "".join(f"{key}.{value}." for key, value in sorted(source.references.items()))
    return f"{source.name}.{md5_hex(references.encode())}"


def track_author(author: Author) -> str:
    """Name an author: category, name and version, empty ones leaving adjacent dots."""
    return f"{author.category}.{author.name}.{author.version}"


def track_link(parent_sha256: str, node: PathNode) -> str:
    """Name the hop from a parent to `node`, with the time in its posted offset."""
    return f"{parent_sha256}.{node.sha256}.{_time(node.timestamp)}.{track_author(node.author)}"


def _time(text: str) -> str:
    """Write a time in posted form to the second, with the hours of its offset only."""
    seconds = text[:_TIME_LENGTH].replace("-", "_").replace(":", "_")
    zone = "Z" if text.endswith("Z") else text[_ZONE]
    return f"{seconds}{zone}_00"
