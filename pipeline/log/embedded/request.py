"""What waits to be written: appends, new and altered topics, commits. Each becomes durable as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from pipeline.log.embedded import journal
from pipeline.log.embedded.contents import Commit, Contents
from pipeline.log.embedded.frame import Rows
from pipeline.log.embedded.partition import Partition
from pipeline.log.port import Placed, TopicSpec

R = TypeVar("R")

_encode = msgspec.msgpack.encode


class Request(Generic[R]):
    """A change that somebody waits for.

    The writer thread asks for its `entries`, makes them durable, calls `apply`, and then the future gets
    `result` on the event loop it belongs to.
    """

    size_bytes = 0

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[R] = self.loop.create_future()

    def entries(self) -> list[bytes]:
        """Return what goes into the journal, apart from records."""
        return []

    def apply(self, contents: Contents) -> None:
        """Show the change, which is durable now."""

    def result(self) -> R:
        """Return what the caller gets."""
        raise NotImplementedError

    def settle(self, error: Exception | None) -> None:
        """Answer the caller, on its event loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self.result())
        else:
            self.future.set_exception(error)


class Append(Request[list[Placed]]):
    """Records to append.

    `rows` are the encoded records by partition, `slots` say for each record which rows it is in and at
    which place. The writer sets `bases`, the first offset of each rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[Partition, Rows]] = []
        self.slots: list[tuple[int, int]] = []
        self.bases: list[int] = []

    def result(self) -> list[Placed]:
        """Return the places in the order the records were given."""
        places = [each.place for each, _ in self.rows]
        bases = self.bases
        return [Placed(*places[index], bases[index] + at) for index, at in self.slots]


class CreateTopics(Request[list[str]]):
    """Topics to create unless they exist."""

    def __init__(self, specs: Sequence[TopicSpec]) -> None:
        super().__init__()
        self._specs = specs
        self._created: list[str] = []

    def entries(self) -> list[bytes]:
        """Return an entry a topic; one that exists changes nothing when it is applied."""
        return [journal.other_entry(journal.KIND_TOPIC, _encode(spec)) for spec in self._specs]

    def apply(self, contents: Contents) -> None:
        """Show the new topics."""
        self._created = [spec.name for spec in self._specs if contents.add_topic(spec)]

    def result(self) -> list[str]:
        """Return the names of those that did not exist."""
        return self._created


class AlterTopics(Request[None]):
    """Topics that exist and are to get more partitions or another configuration."""

    def __init__(self, specs: Sequence[TopicSpec]) -> None:
        super().__init__()
        self._specs = specs

    def entries(self) -> list[bytes]:
        """Return an entry a topic; read again after a crash it changes nothing more."""
        return [journal.other_entry(journal.KIND_ALTER, _encode(spec)) for spec in self._specs]

    def apply(self, contents: Contents) -> None:
        """Show the topics as they are now."""
        for spec in self._specs:
            contents.alter_topic(spec)

    def result(self) -> None:
        """Nothing to tell."""


class CommitOffsets(Request[None]):
    """Offsets a group commits."""

    def __init__(self, commit: Commit) -> None:
        super().__init__()
        self._commit = commit

    def entries(self) -> list[bytes]:
        """Return the entry."""
        return [journal.other_entry(journal.KIND_COMMIT, _encode(self._commit))]

    def apply(self, contents: Contents) -> None:
        """Show the offsets."""
        contents.commit(self._commit)

    def result(self) -> None:
        """Nothing to tell."""


AnyRequest = Request[Any]
