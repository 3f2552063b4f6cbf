"""One unfinished file: written, flushed, then moved to its place or removed. All methods block."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import limits
from pipeline.objects.faults import file_faults
from pipeline.objects.scratch import Scratch


class ScratchFile:
    """A new file in a scratch folder, made by the first use; used by one thread at a time.

    All methods raise `StorageFull` when there is no room and `Unavailable` when the disk fails; what was
    written is then removed by `remove`.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._descriptor: int | None = None
        self._dirty_bytes = 0
        self.name = scratch.name()
        self.made = False
        """Whether there is such a file."""

    @property
    def path(self) -> Path:
        """Where the file lies until it is moved or removed."""
        return self._scratch.path(self.name)

    @property
    def descriptor(self) -> int:
        """The open file; the first call makes it."""
        if self._descriptor is None:
            self._descriptor = self._scratch.create(self.name)
            self.made = True
        return self._descriptor

    def write(self, data: bytes) -> None:
        """Append bytes, none being allowed."""
        with file_faults("write an object"):
            descriptor = self.descriptor
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            self._written(len(data))

    def copy_from(self, source: int, size_bytes: int) -> None:
        """Append `size_bytes` of another open file without reading them into this process."""
        with file_faults("copy an object"):
            offset = 0
            while offset < size_bytes:
                step = min(size_bytes - offset, limits.FOLDER_DIRTY_BYTES)
                copied = os.sendfile(self.descriptor, source, offset, step)
                if copied == 0:
                    break
                offset += copied
                self._written(copied)

    def _written(self, size_bytes: int) -> None:
        self._dirty_bytes += size_bytes
        if self._dirty_bytes >= limits.FOLDER_DIRTY_BYTES:
            os.fdatasync(self.descriptor)
            self._dirty_bytes = 0

    def flush(self) -> os.stat_result:
        """Bring the whole file to disk and return what the system knows about it."""
        with file_faults("write an object"):
            os.fsync(self.descriptor)
            return os.fstat(self.descriptor)

    def close(self) -> None:
        """Close the file, which stays; safe to repeat."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def moved(self) -> None:
        """Note that the file got another name: it is no longer ours to remove."""
        self.made = False

    def remove(self) -> None:
        """Close and remove the file; harmless when it was moved or never made."""
        self.close()
        if self.made:
            self.made = False
            self._scratch.remove(self.name)
