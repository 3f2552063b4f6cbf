"""The disk: every change the embedded log makes to its folder goes through here.

One small class, so that a test can stand in its place and lose power between any two operations. What
was written counts as kept only after `sync` (or `write_synced`), and a new, renamed or removed name only
after `sync_folder`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import HeadraceError, StorageFull, Unavailable

_PIECES_MAX = 1024
"""Pieces one system call takes, the limit of Linux."""
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Disk:
    """Plain files of the machine. Every method raises `OSError` as the system gives it."""

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open a file for reading and writing; `create` makes it new and empty."""
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0)
        return os.open(path, flags, 0o600)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def write(self, descriptor: int, pieces: Sequence[bytes], position: int) -> None:
        """Write all pieces one after another from `position` on, kept only after `sync`."""
        self._write_all(descriptor, pieces, position, 0)

    def write_synced(self, descriptor: int, pieces: Sequence[bytes], position: int) -> None:
        """Write all pieces one after another from `position` on and return when they are kept.

        Mostly one system call instead of two: the writing thread gives up the interpreter once, not
        twice, which is what a busy event loop makes it wait for.
        """
        try:
            self._write_all(descriptor, pieces, position, os.RWF_DSYNC)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._write_all(descriptor, pieces, position, 0)
            os.fdatasync(descriptor)

    def _write_all(self, descriptor: int, pieces: Sequence[bytes], position: int, flags: int) -> None:
        for first in range(0, len(pieces), _PIECES_MAX):
            rest: list[bytes | memoryview] = list(pieces[first : first + _PIECES_MAX])
            while rest:
                written = os.pwritev(descriptor, rest, position, flags)
                position += written
                while rest and written >= len(rest[0]):
                    written -= len(rest.pop(0))
                if written:
                    rest[0] = memoryview(rest[0])[written:]

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cut a file, kept only after `sync`."""
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        """Return when the contents and size of a file are kept."""
        os.fdatasync(descriptor)

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents, kept when this returns; nothing happens when it is there."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        self.sync_folder(path.parent)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file the name of another one, which is gone in the same instant."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file; nothing happens when it is gone."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder are kept."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_file(self, path: Path, data: bytes) -> None:
        """Make a file hold exactly `data`: after a crash it has the old contents or the new, whole."""
        fresh = path.with_name(path.name + ".new")
        descriptor = self.open(fresh, create=True)
        try:
            self.write(descriptor, [data], 0)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        # Until the rename is kept, the name still stands for the old contents.
        self.replace(fresh, path)
        self.sync_folder(path.parent)


def translate(tried: str, error: OSError) -> HeadraceError:
    """Turn an error of the file system into ours."""
    if error.errno in _FULL:
        return StorageFull(tried, error.strerror or str(error), "free some space; the log then goes on")
    return Unavailable(tried, str(error), "see the system's log for the state of the disk")
