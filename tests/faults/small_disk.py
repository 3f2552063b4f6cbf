"""A disk of a few MiB that can be filled up and emptied again."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILLER = "filler"
BLOCK = b"\1" * 4096


class SmallDisk:
    """A folder with a file system of its own.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Use up everything but `leave_bytes`, or until the disk says that it is full."""
        left_bytes = shutil.disk_usage(self.folder).free - leave_bytes if leave_bytes else sys.maxsize
        with (self.folder / FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while left_bytes > 0:
                left_bytes -= file.write(BLOCK)

    def free(self) -> None:
        """Give the room back."""
        (self.folder / FILLER).unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk | None]:
    """Mount a small disk on a new folder; None when that is not allowed here."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size_mib}m,mode=700", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount")
        and not subprocess.run(["mount", *options], check=False, capture_output=True).returncode
    )
    try:
        yield SmallDisk(folder) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
