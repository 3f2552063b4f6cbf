"""The delete event: results or submissions are to be forgotten. Contract: dispatcher section 4.6.

Sub-objects that are not used are left out, because the strict Python model refuses empty ones. Times are
in posted form, empty when unset.
"""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.parts import Author
from pipeline.events.shape import Part, UInt32, always, always_text


class DeleteSubmission(Part, frozen=True):
    """All of one submission; of one with exactly this source time when `timestamp` is given."""

    track_source_references: str = ""
    timestamp: str = ""


class DeleteAuthor(Part, frozen=True):
    """All results of an author before `timestamp`."""

    track_author: str = ""
    timestamp: str = ""


class DeleteLink(Part, frozen=True):
    """All that came by one link."""

    track_link: str = ""


class DeleteIds(Part, frozen=True):
    """Events by their Kafka keys."""

    ids: tuple[str, ...] = ()


class DeleteEntity(Part, frozen=True):
    """What to forget, and why."""

    reason: str = ""
    submission: DeleteSubmission | None = None
    author: DeleteAuthor | None = None
    link: DeleteLink | None = None
    ids: DeleteIds | None = None


class DeleteEvent(Part, frozen=True):
    """Events matching the entity are to be forgotten, those that exist and those still to come."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    entity: DeleteEntity = always(DeleteEntity)
    action: str = always_text()
