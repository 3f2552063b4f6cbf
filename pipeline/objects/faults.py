"""From what the operating system says about files to our errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import HeadraceError, NotFound, StorageFull, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def file_faults(tried: str) -> Iterator[None]:
    """Raise operating system errors of the body as ours.

    Raises:
        NotFound: There is no such file.
        StorageFull: Disk, quota or the allowed file size is used up.
        Unavailable: Anything else: no permission, read-only, an input/output error.
    """
    try:
        yield
    except OSError as error:
        raise translate(tried, error) from error


def translate(tried: str, error: OSError) -> HeadraceError:
    """Return our error for one of the operating system."""
    why = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return NotFound(tried, why)
    if error.errno in _FULL:
        return StorageFull(tried, why, "make room, or raise the quota")
    return Unavailable(tried, why, "check the disk and the rights of this account")
