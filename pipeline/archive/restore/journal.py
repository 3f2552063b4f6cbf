"""The journal of a restore: what was sent, so that an interrupted run goes on and nothing is sent twice.

A file of JSON lines, each synced before what it announces happens. The first says which restore it belongs
to. Each further one says up to where everything is settled and where in the destination it is, and up to
where the messages go that are about to be sent. So at any moment the only messages of which nobody knows
whether they arrived are those between `done` and `next` of the last line, and if they did, they lie behind
its marks. A line that a crash cut off counts as not written.

A restore in shares (`pipeline.archive.restore.shares`) has one line that names them; each share has a
journal of its own beside it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import msgspec

from pipeline import limits, limits_archive
from pipeline.archive.restore.plan import Position
from pipeline.archive.restore.records import Target
from pipeline.archive.restore.report import Failure, Options, Selection
from pipeline.archive.restore.selection import Lane, Newest
from pipeline.errors import Conflict, Damaged, StorageFull, Unavailable
from pipeline.log.port import TopicPartition

VERSION = 1
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BOUND = ("destination", "dest_topic", "as_sent", "order", "partition", "external_url")
"""Options that change what is sent, or where."""


class Begin(msgspec.Struct, frozen=True, tag="begin", omit_defaults=True):
    """The first line: which restore this is, and the state of everything when it began.

    `lanes` are those of a share of it; none mean all.
    """

    version: int
    selection: Selection
    bound: dict[str, str]
    newest: Newest
    targets: dict[str, Target]
    starts: list[tuple[str, int, int]]
    lanes: list[Lane] = []


class Shared(msgspec.Struct, frozen=True, tag="shared"):
    """The only line of a restore in shares: which restore this is, and the lanes of each share."""

    version: int
    selection: Selection
    bound: dict[str, str]
    newest: Newest
    targets: dict[str, Target]
    shares: list[list[Lane]]


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Messages of a lane that went to one partition, in order.

    `numbers` are their offsets, or the serial numbers of their rows where the lane has no partition, and
    `offsets` those they have now, both as ranges of first and count, one for one.
    """

    lane: Lane
    topic: str
    partition: int
    numbers: list[tuple[int, int]]
    offsets: list[tuple[int, int]]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What one partition of the destination has got, from which offset to which, and the last message."""

    messages: int
    bytes: int
    first: int
    end: int
    last: UUID


class Step(msgspec.Struct, frozen=True, tag="step", omit_defaults=True):
    """A further line: what is settled since the line before, and what comes next."""

    done: Position | None = None
    next: Position | None = None
    marks: list[tuple[str, int, Mark]] = []
    runs: list[Run] = []
    failed: list[Failure] = []
    messages: int = 0
    bytes: int = 0
    recognised: int = 0
    placeholders: int = 0


class State:
    """What the lines say together."""

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.done: Position | None = None
        self.next: Position | None = None
        self.marks: dict[TopicPartition, Mark] = {}
        self.failures: list[Failure] = []
        self.failed = 0
        self.messages = 0
        self.bytes = 0
        self.recognised = 0
        self.placeholders = 0

    @property
    def sent(self) -> int:
        """Give how many messages are in the destination."""
        return self.messages - self.failed

    def take(self, step: Step) -> None:
        """Take in a line."""
        self.done, self.next = step.done, step.next
        for topic, partition, mark in step.marks:
            self.marks[TopicPartition(topic, partition)] = mark
        room = limits_archive.RESTORE_FAILURES_SHOWN - len(self.failures)
        self.failures += step.failed[: max(room, 0)]
        self.failed += len(step.failed)
        self.messages += step.messages
        self.bytes += step.bytes
        self.recognised += step.recognised
        self.placeholders += step.placeholders


class Journal:
    """The file of one restore; nobody else can use it while it is open.

    Args:
        path: The file; None for one that is forgotten when it is closed.
        wait_seconds: How long to wait for somebody who is just ending with it.
    """

    def __init__(self, path: Path | None, *, wait_seconds: float = 0.0) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._file: IO[bytes] | None = None
        self._decoder = msgspec.json.Decoder(Begin | Step | Shared)

    async def open(self) -> State | Shared | None:
        """Take the file and return what it says, None when it is new.

        Raises:
            Conflict: Another restore is using it. Damaged: It is no journal.
            Unavailable: The file cannot be used.
        """
        begun: State | Shared | None = await self._in_thread(self._take)
        return begun

    def _take(self) -> State | Shared | None:
        if self._path is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
            return None
        self._file = open(self._path, "a+b")  # noqa: PTH123, SIM115 -- closed by `close`
        _sync_folder(self._path.absolute().parent)
        self._lock()
        state: State | None = None
        for line in self._lines():
            if isinstance(line, Shared):
                return line
            if isinstance(line, Begin):
                state = State(line)
            elif state is None:
                raise self._damaged("it does not begin as one")
            else:
                state.take(line)
        return state

    def _lock(self) -> None:
        until = time.monotonic() + self._wait_seconds
        while True:
            try:
                return fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    why = "another restore is using it"
                    raise Conflict(f"open the journal {self._path}", why, "wait for its end") from error
            time.sleep(min(limits.CALL_BACKOFF_SECONDS, self._wait_seconds / 10))

    def _lines(self, *, cut: bool = True) -> Iterator[Begin | Step | Shared]:
        """Give the lines; one that a crash cut off is removed, so that the next one is not part of it."""
        file = self._opened
        file.seek(0)
        whole = 0
        for line in iter(lambda: file.readline(limits_archive.RESTORE_JOURNAL_LINE_BYTES), b""):
            if not line.endswith(b"\n"):
                break
            try:
                yield self._decoder.decode(line)
            except msgspec.DecodeError as error:
                raise self._damaged(str(error)) from error
            whole += len(line)
        if cut:
            file.truncate(whole)

    def _damaged(self, why: str) -> Damaged:
        return Damaged(f"read the journal {self._path}", why, "name another file, or remove this one")

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError("open the journal first")
        return self._file

    async def write(self, line: Begin | Step | Shared) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            StorageFull: The disk is. Unavailable: The file cannot be written.
        """
        await self._in_thread(self._write, line)

    def _write(self, line: Begin | Step | Shared) -> None:
        file = self._opened
        file.seek(0, os.SEEK_END)
        file.write(msgspec.json.encode(line) + b"\n")
        file.flush()
        if self._path is not None:
            os.fsync(file.fileno())

    async def steps(self) -> AsyncIterator[Step]:
        """Give the lines behind the first one, one after another."""
        lines = self._lines(cut=False)
        while (line := await self._in_thread(next, lines, None)) is not None:
            if isinstance(line, Step):
                yield line

    async def close(self) -> None:
        """Let go of the file; nobody holds it any more when this ends, be it cancelled. Safe to repeat."""
        file, self._file = self._file, None
        if file is not None:
            await self._in_thread(file.close)

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            # A thread goes on when nobody waits for it: the file must not be closed under its hands.
            await asyncio.wait([working])
            raise
        except OSError as error:
            kind = StorageFull if error.errno in _FULL else Unavailable
            name = self._path or "of this run"
            raise kind(f"use the journal {name}", error.strerror or str(error)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bound(options: Options) -> dict[str, str]:
    """Give the options that a journal belongs to, as text."""
    return {name: str(getattr(options, name)) for name in _BOUND}


def check_same(
    path: Path | None,
    begun: Begin | Shared,
    selection: Selection,
    options: Options,
    lanes: Sequence[Lane] = (),
) -> None:
    """Refuse a journal of another restore, or of another share of it.

    Raises:
        Conflict: The selection, an option or the lanes are others.
    """
    differing: Mapping[str, tuple[object, object]] = {
        name: (begun.bound.get(name), value)
        for name, value in bound(options).items()
        if begun.bound.get(name) != value
    }
    if begun.selection != selection:
        differing = {"selection": (begun.selection, selection), **differing}
    if begun.version != VERSION:
        differing = {"version": (begun.version, VERSION)}
    if isinstance(begun, Begin) and begun.lanes != list(lanes):
        differing = {"share": (begun.lanes or "all of it", list(lanes) or "all of it"), **differing}
    if differing:
        what = "; ".join(f"{name} was {was}, now {now}" for name, (was, now) in differing.items())
        raise Conflict(
            f"go on with the journal {path}",
            f"it belongs to another restore: {what}",
            "name another file for this one",
        )
