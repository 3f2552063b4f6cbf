"""The files a scan is about: found below folders, read once, and read again unchanged.

Guarantees that every name leads to an answer: what cannot be listed or read is an answer too, because the
other files go on. Nothing but regular files is ever opened for reading, so no pipe or device holds a scan.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import io
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline import limits
from pipeline.errors import BadInput
from pipeline.objects.hashing import Digest
from pipeline.objects.sources import blocks

SMALL_FILE_BYTES = limits.MIB
"""Up to this size a file is read once and kept while it is hashed and stored."""


class File(NamedTuple):
    """A file as it was read."""

    path: Path
    shown: str
    """The path as text; see `shown`."""
    size_bytes: int
    modified: dt.datetime
    digest: Digest
    data: bytes | None
    """The bytes of a small file."""

    def source(self) -> bytes | AsyncIterator[bytes]:
        """Give the bytes that were hashed, to be stored under their hash; a large file is read again.

        Reading it again raises `BadInput` at its end when it is not the same any more.
        """
        return self._again() if self.data is None else self.data

    async def _again(self) -> AsyncIterator[bytes]:
        found = hashlib.sha256()
        async for block in blocks(self.path, limits.OBJECT_BATCH_BYTES):
            found.update(block)
            yield block
        if found.hexdigest() != self.digest.sha256:
            raise BadInput(f"read {self.shown}", "it changed meanwhile", "scan it again")


class Unread(NamedTuple):
    """A file that could not be read, and why."""

    shown: str
    problem: str


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named or below the folders named, each path once, in a steady order.

    Symbolic links are followed when named themselves, not below a folder; what is no regular file is left
    out below a folder. A folder that cannot be listed, and what vanished meanwhile, is yielded: reading it
    tells why.
    """
    seen: set[str] = set()
    for path in paths:
        for file in _walk(path):
            absolute = str(file.absolute())
            if absolute not in seen:
                seen.add(absolute)
                yield Path(absolute)


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    unlisted: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=unlisted.append):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if _is_wanted(file):
                yield file
    yield from (Path(os.fsdecode(error.filename)) for error in unlisted)


def _is_wanted(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return True


def read(path: Path) -> File | Unread:
    """Read what a file's event needs. Blocks."""
    try:
        with os.fdopen(_open_regular(path), "rb", buffering=0) as handle:
            about = os.fstat(handle.fileno())
            data = _read_start(handle, about.st_size)
            whole = data if len(data) <= SMALL_FILE_BYTES else None
            # Only the hash objects are found by: the parser process makes the others from the same bytes.
            found, size_bytes = hashlib.sha256(data), len(data)
            while whole is None and (data := handle.read(SMALL_FILE_BYTES)):
                found.update(data)
                size_bytes += len(data)
    except OSError as error:
        return Unread(shown(path), error.strerror or str(error))
    modified = dt.datetime.fromtimestamp(int(about.st_mtime), dt.UTC)
    return File(path, shown(path), size_bytes, modified, Digest(size_bytes, found.hexdigest()), whole)


def _read_start(handle: io.FileIO, size_bytes: int) -> bytes:
    """Read a small file whole, of a large one more than `SMALL_FILE_BYTES`.

    As much as the file is said to have and a little more, so that no room is made that is not needed.
    """
    parts = []
    ahead = SMALL_FILE_BYTES + 1
    while ahead > 0 and (part := handle.read(min(size_bytes + 1, ahead))):
        parts.append(part)
        ahead -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _open_regular(path: Path) -> int:
    # Opening a pipe that nobody writes to would wait for ever without the flag.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # says why it could not be listed
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "not a regular file")


def shown(path: Path) -> str:
    """Give a path as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
