"""The snapshot: what the folder holds, in one small file that is replaced as a whole.

It names every segment file with its size, the topics, the committed offsets, and the first journal that
must be read after it. A file it does not name does not count and is removed at start; so a new segment
counts from the instant a snapshot names it, and an old one is removed after none does any more.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from pipeline.errors import Damaged
from pipeline.log.embedded.disk import Disk

FORMAT = 1
_NAME = "snapshot"


class SegmentState(msgspec.Struct, frozen=True):
    """A segment file.

    It holds what is left of the offsets `base` to before `next`. `cleaned_ms` is 0 as long as compaction
    has not been over it, then the time it first was.
    """

    name: str
    base: int
    next: int
    size_bytes: int
    newest_ms: int
    cleaned_ms: int = 0


class PartitionState(msgspec.Struct, frozen=True):
    """A partition: readable from `start`, in segments up to `flushed`."""

    start: int = 0
    flushed: int = 0
    segments: tuple[SegmentState, ...] = ()


class TopicState(msgspec.Struct, frozen=True):
    """A topic and its partitions."""

    config: dict[str, str]
    partitions: tuple[PartitionState, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """All of it; groups map group to topic to partition to the next offset to read."""

    format: int = FORMAT
    journal: int = 1
    sequence: int | None = None
    topics: dict[str, TopicState] = {}
    groups: dict[str, dict[str, dict[int, int]]] = {}


def write_snapshot(disk: Disk, folder: Path, snapshot: Snapshot) -> None:
    """Replace the snapshot of a folder; raises `OSError`, and the old one is in place then."""
    body = msgspec.json.encode(snapshot)
    disk.write_file(folder / _NAME, b"%08x\n" % zlib.crc32(body) + body)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Return the snapshot of a folder, None for a folder without one.

    Raises:
        Damaged: It is not what was written, or a newer version of Headrace wrote it.
    """
    path = folder / _NAME
    try:
        crc, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if crc != b"%08x" % zlib.crc32(body):
        raise Damaged(f"read {path}", "its checksum is wrong", "bring it back from a copy of the folder")
    if msgspec.json.decode(body)["format"] != FORMAT:
        raise Damaged(f"read {path}", "another version wrote it", "use the version that wrote it")
    return msgspec.json.decode(body, type=Snapshot)
