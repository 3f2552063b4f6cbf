"""A folder for unfinished files that a crash cannot litter for long.

Each process works in its own subfolder, which it keeps locked while it lives. Whoever opens the folder
removes the subfolders nobody holds any more: what a killed process left goes at the next start, what a
running one writes stays.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline.errors import Unavailable
from pipeline.objects.faults import file_faults

_FILE_MODE = 0o640
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """Unfinished files below one folder. All methods block: call them in threads.

    Args:
        folder: Made when missing; may be shared with other processes on this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._descriptor = -1
        self._numbers = itertools.count()

    def open(self) -> None:
        """Remove what dead processes left and make the own subfolder; safe to repeat.

        Raises:
            Unavailable: The folder cannot be used.
        """
        if self._own is not None:
            return
        with file_faults(f"use the folder {self._folder} for unfinished files"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            for left in self._folder.iterdir():
                _remove_when_dead(left)
            self._make_own()

    def _make_own(self) -> None:
        while self._own is None:
            own = Path(tempfile.mkdtemp(dir=self._folder))
            # Until the lock is held another process may take the subfolder for a dead one's and remove it.
            with suppress(FileNotFoundError):
                self._descriptor = os.open(own, _OPEN_FOLDER)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                if own.exists():
                    self._own = own
                else:
                    os.close(self._descriptor)

    def close(self) -> None:
        """Remove the own subfolder; safe to repeat."""
        own, self._own = self._own, None
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
            os.close(self._descriptor)

    @property
    def descriptor(self) -> int:
        """The own subfolder, for calls relative to it."""
        if self._own is None:
            raise Unavailable(f"write below {self._folder}", "it is not open", "open the store first")
        return self._descriptor

    def path(self, name: str) -> Path:
        """Return the whole path of a file made here."""
        return (self._own or self._folder) / name

    def name(self) -> str:
        """Return a name no other file here has."""
        return str(next(self._numbers))

    def create(self, name: str) -> int:
        """Make an empty file, readable by the group, and return its descriptor."""
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, _FILE_MODE, dir_fd=self.descriptor)
        if os.fstat(descriptor).st_mode & 0o777 != _FILE_MODE:  # by the umask
            os.fchmod(descriptor, _FILE_MODE)
        return descriptor

    def remove(self, name: str) -> None:
        """Remove a file; harmless when there is none, or when all went with `close`."""
        if self._own is not None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._descriptor)


def _remove_when_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder, _OPEN_FOLDER)
    except OSError:  # gone already, or nothing of ours
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its process lives, or the file system cannot tell: then it stays
        return
    finally:
        os.close(descriptor)
