"""Real files of many kinds: what an installed Python and the system's own commands offer."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

LARGEST_BYTES = 4 * 1024 * 1024
SEED = 7


def real_files(count: int, *, smallest_bytes: int = 1) -> list[Path]:
    """Return so many regular files, the same ones each time: up to half commands, the rest of a library."""
    order = random.Random(SEED)  # noqa: S311 - it only mixes
    commands, library = (
        [path for path in _below(top) if smallest_bytes <= path.stat().st_size <= LARGEST_BYTES]
        for top in (Path("/usr/bin"), Path(json.__file__).parent.parent)
    )
    order.shuffle(commands)
    order.shuffle(library)
    chosen = commands[: count // 2]
    chosen += library[: count - len(chosen)]
    assert len(chosen) == count, f"this machine has only {len(chosen)} files to test with"
    order.shuffle(chosen)
    return chosen


def _below(top: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode) and os.access(path, os.R_OK):
                yield path


def sha256_of(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
