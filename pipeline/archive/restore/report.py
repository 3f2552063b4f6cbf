"""What is asked of a restore and what it answers; the words of the command line and of its JSON report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from uuid import UUID

import msgspec

ORIGINAL = "{topic}"
"""In a pattern for destination topics: the name of the topic a message was read from."""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which messages are played back: those that satisfy everything that is given.

    `topics` are names or globs, none meaning all; `from_ms` is the first time, `to_ms` the first one that
    is not wanted any more, in ms since 1970-01-01 UTC.
    """

    topics: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    uuids: tuple[UUID, ...] = ()


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """How they are played back (archive contract, section 16).

    Args:
        destination: What reports and the journal call the log they go to; its URL without a password.
        dest_topic: The name of the topic they go to; ``{topic}`` in it stands for the original name.
        as_sent: Leave out the headers the archive added.
        order: ``offset``: one partition after the other, each in order of its offsets, messages without
            one in order of time. ``time``: all messages in order of time.
        partition: ``keep`` the number of the partition, or choose it by the ``key``.
        rate: Messages a second, 0 meaning as fast as possible.
        journal: File that remembers what was sent, so that an interrupted run can go on.
        dry_run: Look at everything, send nothing.
        verify: Read what was sent and compare it with the archive.
        external_url: Where clients reach the archive; named in the place of uploads that are too large.
        replicas: Copies of topics that have to be made.
        offset_map: File that gets the old and new offsets, a JSON line a range.
    """

    destination: str = ""
    dest_topic: str = ORIGINAL
    as_sent: bool = False
    order: Literal["offset", "time"] = "offset"
    partition: Literal["keep", "key"] = "keep"
    rate: float = 0.0
    journal: Path | None = None
    dry_run: bool = False
    verify: bool = False
    external_url: str = ""
    replicas: int = 1
    offset_map: Path | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a restore is; bytes are those of the archived documents.

    A run that goes on counts what runs before it did as done.
    """

    stage: Literal["looking", "sending", "verifying"]
    messages: int
    messages_total: int
    bytes: int
    bytes_total: int


class Selected(msgspec.Struct, frozen=True):
    """What the archive has of one partition; `partition` is None where it is not known."""

    topic: str
    partition: int | None
    messages: int
    bytes: int
    earliest_ms: int
    latest_ms: int


class Failure(msgspec.Struct, frozen=True):
    """A message that cannot be sent.

    ``missing``: its object is not there. ``damaged``: it is not what was stored. ``too large``: the topic
    it would go to does not take it.
    """

    uuid: UUID
    topic: str
    kind: Literal["missing", "damaged", "too large"]
    reason: str


class Delivered(msgspec.Struct, frozen=True):
    """What one partition of the destination got, in all runs of a journal.

    `bytes` are those of their documents; `first` is the offset of the first, `end` the one after the last.
    """

    topic: str
    partition: int
    messages: int
    bytes: int
    first: int
    end: int


class Difference(msgspec.Struct, frozen=True):
    """A place of the destination that does not hold what the archive has."""

    topic: str
    partition: int
    offset: int
    uuid: UUID | None
    what: str


class Compared(msgspec.Struct, frozen=True):
    """One partition of the destination as it was read again.

    `crc32` is of the messages the archive has, each with time, key, value and headers, in the order of the
    partition; `found_crc32` is of those found in their places. `missing` and `different` count the others;
    `repeated` counts messages that stand there once more, `others` what stands among them and was not
    sent by this restore.
    """

    topic: str
    partition: int
    messages: int
    found: int
    crc32: int
    found_crc32: int
    missing: int
    different: int
    repeated: int
    others: int


class Verified(msgspec.Struct, frozen=True):
    """What the comparison gave; `differences` are the first ones."""

    equal: bool
    partitions: list[Compared]
    differences: list[Difference]


class Moved(msgspec.Struct, frozen=True):
    """A range of offsets and where it stands now.

    Where `partition` is None the messages never stood in a log, and `first` counts their rows.
    """

    topic: str
    partition: int | None
    first: int
    count: int
    to_topic: str
    to_partition: int
    to_first: int


class Report(msgspec.Struct, frozen=True):
    """What a restore did.

    `sent` counts what is in the destination by all runs of the journal, `sent_now` what this run put
    there, `recognised` what an interrupted run had put there without writing it down. `failures` are the
    first of `failed` messages. `offset_map` is None when it is too long for a report.
    """

    complete: bool
    dry_run: bool
    destination: str
    selected: int
    selected_bytes: int
    sent: int
    sent_now: int
    recognised: int
    placeholders: int
    failed: int
    failures: list[Failure]
    topics: list[Selected]
    created: list[str]
    warnings: list[str]
    delivered: list[Delivered]
    offset_map: list[Moved] | None = None
    verified: Verified | None = None

    @property
    def exit_status(self) -> int:
        """Give 0 when everything selected is in the destination and, where that was asked, equal."""
        return 0 if self.complete and (self.verified is None or self.verified.equal) else 1
