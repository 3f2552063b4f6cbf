"""The insert event: a person declares one file the child of another. Contract: dispatcher section 4.5."""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.binary import BinaryEntity
from pipeline.events.parts import Author, PathNode
from pipeline.events.shape import Part, UInt32, always, always_text


class InsertEntity(Part, frozen=True):
    """The child, the hop that leads to it, and the source its bytes were stored under."""

    original_source: str = always_text()
    parent_sha256: str = always_text()
    child: BinaryEntity = always(BinaryEntity)
    child_history: PathNode = always(PathNode)


class InsertEvent(Part, frozen=True):
    """Wherever the parent turns up, the child is to turn up too. Both ``track_`` fields are ours to set."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    entity: InsertEntity = always(InsertEntity)
    track_link: str = ""
    track_author: str = ""
