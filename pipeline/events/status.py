"""The status event: what a plugin says about a task. Contract: dispatcher section 4.3."""

from __future__ import annotations

import datetime as dt

import msgspec
from msgspec.structs import force_setattr

from pipeline.events import times
from pipeline.events.binary import BinaryEvent
from pipeline.events.names import CURRENT
from pipeline.events.parts import Author
from pipeline.events.shape import Part, UInt32, always, always_text

_NO_RUNTIME = 0.0
"""The one object msgspec takes for the default, so that it is left out."""


class StatusEntity(Part, frozen=True):
    """The task, how it went, and what came of it. `runtime` is in seconds.

    `results` exists only in what clients post; they become events of their own.
    """

    input: BinaryEvent = always(BinaryEvent)
    status: str = always_text()
    runtime: float = _NO_RUNTIME
    error: str = ""
    message: str = ""
    results: tuple[BinaryEvent, ...] = ()

    def __post_init__(self) -> None:
        """Make every zero runtime the default one."""
        if self.runtime == 0:
            force_setattr(self, "runtime", _NO_RUNTIME)


class StatusEvent(Part, frozen=True):
    """What a plugin says about a task it was handed."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    entity: StatusEntity = always(StatusEntity)

    @classmethod
    def authored(cls, author: Author, entity: StatusEntity, now: dt.datetime) -> StatusEvent:
        """Make a status of ours, of the current version, still without its key."""
        return cls(model_version=CURRENT, timestamp=times.text_of(now), author=author, entity=entity)
