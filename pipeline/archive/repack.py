"""Move stored messages from objects of their own into packs, or back; no byte of any message changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline import limits
from pipeline.archive.archive import Archive


class Repacked(NamedTuple):
    """What was moved, or would be: messages, the objects they lay in and lie in now, and their bytes."""

    messages: int
    objects_before: int
    objects_after: int
    size_bytes: int
    skipped: int
    """Messages that stay where they are: their object is missing, damaged, or not where ours lie."""


async def repack(
    archive: Archive,
    *,
    to: Literal["packs", "objects"],
    topics: Sequence[str] = ("*",),
    pack_records: int = limits.ARCHIVE_PACK_RECORDS,
    pack_bytes: int = limits.ARCHIVE_PACK_BYTES,
    concurrency: int = limits.ARCHIVE_CONCURRENCY,
    dry_run: bool = False,
) -> Repacked:
    """Move every message of the topics (globs) that does not lie as `to` says.

    May be stopped, killed and repeated at any point: an object is removed only when no row points to it.

    Raises:
        Conflict: The archive is protected.
        Unavailable: The store or the database does not answer; run it again.
    """
    raise NotImplementedError
