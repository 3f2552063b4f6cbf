"""The retrohunt event: a search over stored bytes and its progress. Contract: dispatcher section 4.8."""

from __future__ import annotations

import msgspec

from pipeline.events import raw, times
from pipeline.events.parts import Author
from pipeline.events.shape import Part, UInt32, always


class RetrohuntSource(Part, frozen=True):
    """Who asked for the hunt."""

    submitter: str = ""
    security: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)


class RetrohuntEvent(Part, frozen=True):
    """A hunt was asked for or got on; `entity` is JSON of the hunter, passed on undecoded."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    entity: msgspec.Raw = msgspec.field(default_factory=raw.null)
    action: str = ""
    source: RetrohuntSource = always(RetrohuntSource)
