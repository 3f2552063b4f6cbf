"""What the tests of identification share: bytes nobody can argue about, and waiting for states."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

from pipeline.identify.subject import Subject

POLL_SECONDS = 0.01
LONGEST_WAIT_SECONDS = 30.0

SLOW_MARK = b"SLOW"
SLOW_RULE = """
rule slow { condition: uint32be(0) == 0x534C4F57 and
  for all i in (0..filesize) : (for all j in (0..filesize) :
    (for all k in (0..filesize) : (i + j + k >= 0))) }
"""
"""A real rule that takes for ever on files beginning with `SLOW_MARK` and is quick on all others."""


def stream(size_bytes: int) -> bytes:
    """Return bytes that look random and are the same for ever."""
    blocks = (hashlib.sha256(b"headrace" + i.to_bytes(4, "big")).digest() for i in itertools.count())
    return b"".join(itertools.islice(blocks, size_bytes // 32 + 1))[:size_bytes]


def repeating_text() -> bytes:
    """Return 19 kB of text."""
    return b"".join(b"line %d of a text that repeats itself a little\n" % i for i in range(400))


def subject_of(folder: Path, data: bytes) -> Subject:
    """Return an open file with these bytes."""
    path = folder / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    return Subject(str(path))


async def until(state: Callable[[], bool]) -> None:
    """Return when `state` is true; fail when it does not become so."""
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while not state():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(POLL_SECONDS)


def alive(pid: int) -> bool:
    """Tell whether a process exists and has not ended; one nobody has reaped yet has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
