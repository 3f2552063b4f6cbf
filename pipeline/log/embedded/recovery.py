"""Start: from what a crash left in the folder back to what was promised."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from pipeline.errors import Damaged
from pipeline.log.embedded import frame, journal
from pipeline.log.embedded.contents import Commit, Contents
from pipeline.log.embedded.disk import Disk
from pipeline.log.embedded.journal import JournalReader, journal_numbers, journal_path
from pipeline.log.embedded.partition import Batch, Partition
from pipeline.log.embedded.snapshot import read_snapshot
from pipeline.log.embedded.tail import Tail
from pipeline.log.port import TopicPartition, TopicSpec

_log = structlog.get_logger(__name__)

_decode_topic = msgspec.msgpack.Decoder(TopicSpec).decode
_decode_commit = msgspec.msgpack.Decoder(Commit).decode


class Recovered(NamedTuple):
    """Where the next journal goes on."""

    next_journal: int
    next_sequence: int


def recover(disk: Disk, folder: Path, contents: Contents, tail: Tail) -> Recovered:
    """Fill `contents` from the folder: the snapshot, then the journals after it.

    Only what no snapshot and no journal vouches for is removed or cut off, so a crash in here changes
    nothing about what the next start finds.

    Raises:
        Damaged: Something is not what was written; names the file.
        OSError: The disk does not answer.
    """
    snapshot = read_snapshot(folder)
    numbers = journal_numbers(folder)
    if snapshot is None:
        if contents.folder.is_dir() and any(contents.folder.iterdir()):
            raise Damaged(
                f"open the log in {folder}", "its snapshot is missing", "bring it back from a copy"
            )
        first, sequence = 1, None
    else:
        contents.load(snapshot)
        first, sequence = snapshot.journal, snapshot.sequence
        _check_files(disk, contents)
    needed = [number for number in numbers if number >= first]
    if needed and needed != list(range(first, first + len(needed))):
        raise Damaged(
            f"open the log in {folder}", f"journals are missing: there are {needed}, from {first} on"
        )
    if snapshot and not needed:
        raise Damaged(f"open the log in {folder}", f"{journal_path(folder, first)} is missing")
    following = max([first - 1, *needed]) + 1
    for number in needed:
        reader = JournalReader(journal_path(folder, number), last=number == needed[-1])
        for found, entries in reader.groups(sequence):
            for entry in entries:
                _apply(entry, contents, tail)
            sequence = found + 1
        if reader.begun:
            _cut(disk, reader.path, reader.end_bytes)
        else:
            following = number  # a crash interrupted its beginning: begin it again
    return Recovered(following, sequence or 1)


def _cut(disk: Disk, path: Path, size_bytes: int) -> None:
    """Make a file end at `size_bytes`, kept on disk when this returns."""
    if path.stat().st_size == size_bytes:
        return
    descriptor = disk.open(path)
    try:
        disk.truncate(descriptor, size_bytes)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def _check_files(disk: Disk, contents: Contents) -> None:
    """Cut and remove what the snapshot does not vouch for; refuse what is missing."""
    wanted: dict[Path, set[str]] = {}
    for partition in contents.partitions():
        wanted[partition.folder] = {segment.path.name for segment in partition.segments}
        for segment in partition.segments:
            _check_segment(disk, partition, segment.path, segment.state.size_bytes)
    for path in contents.folder.glob("*/*"):
        if path.name not in wanted.get(path.parent, ()):
            disk.remove(path)


def _check_segment(disk: Disk, partition: Partition, path: Path, size_bytes: int) -> None:
    try:
        found_bytes = path.stat().st_size
    except FileNotFoundError:
        found_bytes = -1
    if found_bytes < size_bytes:
        place = partition.place
        why = "is missing" if found_bytes < 0 else f"ends at offset {found_bytes}, {size_bytes} expected"
        raise Damaged(
            f"open topic {place.topic}, partition {place.partition}",
            f"file {path} {why}",
            "bring the file back from a copy",
        )
    _cut(disk, path, size_bytes)


def _apply(entry: journal.Entry, contents: Contents, tail: Tail) -> None:
    if entry.kind == journal.KIND_TOPIC:
        contents.add_topic(_decode_topic(entry.body))
    elif entry.kind == journal.KIND_ALTER:
        contents.alter_topic(_decode_topic(entry.body))
    elif entry.kind == journal.KIND_COMMIT:
        contents.commit(_decode_commit(entry.body))
    elif entry.kind == journal.KIND_RECORDS:
        topic, number, encoded = journal.split_records(entry.body)
        header = frame.read_header(encoded, 0)
        if header is None or not frame.intact(encoded, 0, header):
            raise Damaged("read the log journal", f"a frame of topic {topic} is not what was written")
        partition = contents.partition(TopicPartition(topic, number))
        if header.next > partition.end:  # else a segment has it already
            if header.base != partition.end:
                raise Damaged(
                    "read the log journal",
                    f"topic {topic}, partition {number} lacks offset {partition.end}",
                )
            tail.adopt(partition, Batch(header.base, header.next, header.newest_ms, encoded))
    else:
        raise Damaged("read the log journal", f"entry of unknown kind {entry.kind}", "use a newer version")
