"""Whether a message is stored already, and under which uuid to store it if not.

The rules of archive contract, section 10, as pure decisions over what the database knows. Two writers
that decide at the same moment are settled by the unique indexes, and the loser decides again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from pipeline.archive.identity import made_uuid
from pipeline.archive.message import Content, Message, Place

Rule = Literal["exact", "upstream"]

SAME_PLACE = "Message with duplicate topic, partition, offset and timestamp not stored"
SAME_UUID = "Message with duplicate UUID not stored"
SAME_CONTENT = "Message with duplicate topic, timestamp and payload not stored"


class Subject(msgspec.Struct, gc=False):
    """A message to decide about.

    `uuid` is the one it has unless that is taken: its client's, or made up from where it stood. `taken`
    collects uuids whose object turned out to hold a different message, though no row says so.
    """

    message: Message
    cluster: str
    sha256: bytes
    uuid: UUID
    is_client_uuid: bool
    content: Content
    place: Place | None
    taken: frozenset[UUID] = frozenset()


class Stored(NamedTuple):
    """What the database says about the holder of a uuid; `sha256` is None in rows upstream wrote."""

    content: Content
    sha256: bytes | None

    def holds(self, subject: Subject) -> bool:
        """Say whether it is the subject's message: same topic, same time, same payload.

        The time of an upload is that of its arrival: when it comes again it is another one.
        """
        there, here = self.content, subject.content
        if (there.topic, there.crc32) != (here.topic, here.crc32):
            return False
        if there.timestamp_ms != here.timestamp_ms and not subject.message.direct_upload:
            return False
        return self.sha256 is None or self.sha256 == subject.sha256


class Known(NamedTuple):
    """What is stored of the places, uuids and contents that were asked for.

    `contents` holds what the rule counts: with ``exact`` only rows without a place whose uuid was made up
    (upstream's), with ``upstream`` every row.
    """

    places: set[Place]
    uuids: dict[UUID, Stored]
    contents: set[Content]


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """The decision not to store a message, and why."""

    reason: str


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """The decision to store a message under this uuid."""

    uuid: UUID
    is_client_uuid: bool


Choice = Duplicate | Fresh


def choose(subjects: Sequence[Subject], known: Known, rule: Rule) -> list[Choice]:
    """Decide about each subject in order; those to be stored count as stored for those after them.

    `known` may be changed: it gets what will be stored.
    """
    if rule == "exact" and _all_new(subjects, known):
        return [Fresh(subject.uuid, subject.is_client_uuid) for subject in subjects]
    choices: list[Choice] = []
    for subject in subjects:
        choice = _decide(subject, known, rule)
        if isinstance(choice, Fresh):
            _remember(subject, choice, known, rule)
        choices.append(choice)
    return choices


def _all_new(subjects: Sequence[Subject], known: Known) -> bool:
    """Say at a glance that nothing is known of any subject and no two have anything in common."""
    if any(known) or any(subject.taken for subject in subjects):
        return False
    places = {subject.place for subject in subjects}
    uuids = {subject.uuid for subject in subjects}
    return None not in places and len(places) == len(uuids) == len(subjects)


def _decide(subject: Subject, known: Known, rule: Rule) -> Choice:
    # Rule 1. Under upstream's rule too: the unique index on places allows no second row.
    if subject.place in known.places:
        return Duplicate(SAME_PLACE)
    if rule == "upstream":
        return Duplicate(SAME_CONTENT) if subject.content in known.contents else _fresh(subject, known)
    holder = known.uuids.get(subject.uuid) if subject.is_client_uuid else None
    if holder is not None and holder.holds(subject):
        return Duplicate(SAME_UUID)  # rule 2
    own_uuid = subject.is_client_uuid and holder is None
    if not own_uuid and subject.content in known.contents:
        return Duplicate(SAME_CONTENT)  # rule 3
    return _fresh(subject, known)  # rules 4 and 5


def _fresh(subject: Subject, known: Known) -> Fresh:
    def free(uuid: UUID) -> bool:
        return uuid not in known.uuids and uuid not in subject.taken

    if free(subject.uuid):
        return Fresh(subject.uuid, subject.is_client_uuid)
    # Ends: each attempt gives another uuid, and finitely many are known or taken.
    made = (made_uuid(subject.message, subject.cluster, attempt) for attempt in itertools.count())
    return Fresh(next(uuid for uuid in made if free(uuid)), is_client_uuid=False)


def _remember(subject: Subject, choice: Fresh, known: Known, rule: Rule) -> None:
    known.uuids[choice.uuid] = Stored(subject.content, subject.sha256)
    if subject.place is not None:
        known.places.add(subject.place)
    if rule == "upstream" or (subject.place is None and not choice.is_client_uuid):
        known.contents.add(subject.content)


class Stretch(NamedTuple):
    """Offsets of one partition, both ends included."""

    cluster: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int


def stretch(places: Sequence[Place]) -> Stretch | None:
    """Give the stretch of offsets places fill for the most part, None when they do not fill one."""
    partitions = {(place.cluster, place.topic, place.partition) for place in places}
    offsets = [place.offset for place in places]
    first, last = min(offsets), max(offsets)
    if len(partitions) > 1 or last - first >= 2 * len(places):
        return None
    return Stretch(*partitions.pop(), first, last)


class Wanted(NamedTuple):
    """What to ask the database before deciding about some subjects."""

    places: list[Place]
    uuids: list[UUID]
    contents: list[Content]


def wanted(subjects: Sequence[Subject], *, attempts: int = 0) -> Wanted:
    """List what decides about the subjects.

    `attempts` says how many further made-up uuids of each to ask for, beside its first one.
    """
    uuids = {subject.uuid for subject in subjects}
    for subject in subjects:
        made = (made_uuid(subject.message, subject.cluster, attempt) for attempt in range(attempts))
        uuids.update(made)
    return Wanted(
        places=[subject.place for subject in subjects if subject.place is not None],
        uuids=list(uuids),
        contents=[subject.content for subject in subjects],
    )
