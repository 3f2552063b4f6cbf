"""The file being identified: opened once, read-only, and read once when it is small.

A file of at most `limits.WHOLE_READ_BYTES` is held whole and shared by every step; of a larger one each
step reads what it needs through the same descriptor, so that all steps see the same file.
"""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import BinaryIO, Self

from pipeline import limits
from pipeline.errors import BadInput, NotFound


class Subject:
    """An open regular file; a context manager.

    Raises:
        NotFound: There is no such file.
        BadInput: It is not a regular file, or may not be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: BinaryIO = _open(path)
        self.size_bytes = os.fstat(self.file.fileno()).st_size
        self.whole: bytes | None = None
        if self.size_bytes <= limits.WHOLE_READ_BYTES:
            # One more than it has: the end is seen at once, and no room is made that is not needed.
            self.whole = self.read(0, self.size_bytes + 1)
            self.size_bytes = len(self.whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes` from `offset`; fewer only at the end of the file."""
        if self.whole is not None:
            return self.whole[offset : offset + size_bytes]
        parts: list[bytes] = []
        while size_bytes > 0 and (part := os.pread(self.file.fileno(), size_bytes, offset)):
            parts.append(part)
            offset += len(part)
            size_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _open(path: str) -> BinaryIO:
    tried = f"open {path!r} for identification"
    try:
        # Without O_NONBLOCK opening a named pipe would wait for a writer. A link is no object of a store.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise NotFound(tried) from error
    except OSError as error:
        raise BadInput(tried, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadInput(tried, "it is not a regular file")
    return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - `Subject` closes it
