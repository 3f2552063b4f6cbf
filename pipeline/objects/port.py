"""What an object store is to the rest of Headrace: bytes under a key, streamed both ways.

`pipeline.objects.folder`, `.s3` and `.memory` keep this contract and pass one test suite. Keys are
slash-separated UTF-8 segments; `pipeline.objects.keys` makes and checks them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec


class Stat(msgspec.Struct, frozen=True):
    """What a store says about an object without reading it."""

    key: str
    size_bytes: int
    modified: dt.datetime
    metadata: Mapping[str, str] = {}


class Download(Protocol):
    """The bytes of an object, or of a range of it, while they arrive."""

    stat: Stat
    first: int
    """Offset of the first byte delivered."""
    length_bytes: int
    """How many bytes will be delivered."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks of at most `limits.CHUNK_BYTES`."""


class Draft(Protocol):
    """An object being written whose key is known only at its end; nobody sees it before `commit`."""

    async def write(self, data: bytes) -> None:
        """Append bytes. May raise what writing the bytes before raised."""

    async def commit(
        self, key: str, *, only_if_absent: bool = False, metadata: Mapping[str, str] | None = None
    ) -> Stat:
        """Make the bytes the object of a key, with the promises of `ObjectStore.put`; once."""

    async def local(self) -> Path:
        """Give what was committed as a local file that must not be changed; it may go with the draft.

        No store reads it back for that: it lies here already.
        """


class ObjectStore(Protocol):
    """The operations every store offers.

    All raise `Unavailable` when the store does not answer in time and `StorageFull` when it has no room.
    """

    async def open(self) -> None:
        """Check that the store can be used, creating its folder or bucket when missing."""

    async def close(self) -> None:
        """Let go of connections; safe to repeat."""

    async def put(
        self,
        key: str,
        source: bytes | Path | AsyncIterable[bytes],
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store the bytes durably under the key: all of them or nothing, never a part.

        Putting the same key again replaces it. With `only_if_absent`, raises `Conflict` when the key
        exists and changes nothing. Memory stays flat whatever the size; `source` is read once.
        """

    def draft(self) -> AbstractAsyncContextManager[Draft]:
        """Start an object whose key depends on its bytes; left without `commit`, nothing remains.

        A folder store moves what it wrote, nothing is written twice; others spool to local disk first.
        """

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Open an object, or the bytes `first` to `last` of it (inclusive, cut at the end).

        Raises `NotFound` when there is none, `BadInput` when `first` lies behind the end.
        """

    def file(self, key: str, *, content: bytes | None = None) -> AbstractAsyncContextManager[Path]:
        """Give the object as a local file that must not be changed.

        Whoever has just stored it may hand over its `content`, so that it is not read back.

        A folder store gives the place of its own file without looking there, so that nobody looks twice;
        others spool a copy that is removed on leaving. Where there is no object, either this raises
        `NotFound` or opening the file fails.
        """

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, or None when there is no such object."""

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object; True when it was removed. Repeating it is harmless.

        With `older_than` only one that was last stored before that time. The two are as close together as
        the store allows, which is not at the same instant: an object stored in between may be removed.
        """

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy within the store without passing the bytes through here. Raises `NotFound`."""

    def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix, in no promised order, without metadata."""
