"""Tracking fields: how deletions find what came from a submission, an author or a link.

Set just before an event is written, overwriting what was there. Contract: dispatcher section 5.3.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TypeVar, cast

from msgspec.structs import replace

from pipeline.events.binary import BinaryEvent
from pipeline.events.ids import md5_hex
from pipeline.events.insert import InsertEvent
from pipeline.events.models import Event
from pipeline.events.parts import Author, PathNode, Source

E = TypeVar("E", bound=Event)

_REMEMBERED = 4096
"""Names that are remembered."""
_ZONE = slice(-len("+05:30"), -len(":30"))


def with_tracking(event: E, **further: str) -> E:
    """Return the event with its tracking fields; models that have none come back without.

    Args:
        event: An event with its path as posted.
        further: Other fields to set on the way: a copy made once is cheaper than two.
    """
    if isinstance(event, BinaryEvent):
        path = event.source.path
        tracked = replace(
            event,
            track_source_references=track_source_references(event.source),
            track_authors=tuple([track_author(node.author) for node in path]),
            track_links=tuple([track_link(before.sha256, node) for before, node in pairwise(path)]),
            **further,
        )
        return cast(E, tracked)
    if isinstance(event, InsertEvent):
        history = event.entity.child_history
        link = track_link(event.entity.parent_sha256, history)
        author = track_author(history.author)
        return cast(E, replace(event, track_link=link, track_author=author, **further))
    return replace(event, **further) if further else event


def track_source_references(source: Source) -> str:
    """Name the submissions that share source name and references; the order of references is nothing."""
    return _submission(source.name, tuple(source.references.items()))


@lru_cache(maxsize=_REMEMBERED)
def _submission(name: str, references: tuple[tuple[str, str], ...]) -> str:
    """Name a submission; the same few are named again and again."""
    joined = "".join(f"{key}.{value}." for key, value in sorted(references))
    return f"{name}.{md5_hex(joined.encode())}"


def track_author(author: Author) -> str:
    """Name an author: category, name and version, empty ones leaving adjacent dots."""
    return f"{author.category}.{author.name}.{author.version}"


def track_link(parent_sha256: str, node: PathNode) -> str:
    """Name the hop from a parent to `node`, with the time in its posted offset."""
    return f"{parent_sha256}.{node.sha256}.{_time(node.timestamp)}.{track_author(node.author)}"


def _time(text: str) -> str:
    """Write a time in posted form to the second, with the hours of its offset only."""
    zone = "Z" if text[-1:] == "Z" else text[_ZONE]
    return f"{text[:4]}_{text[5:7]}_{text[8:13]}_{text[14:16]}_{text[17:19]}{zone}_00"
