"""The journal: the one file whose fsync makes things durable, whatever topics they belong to.

Everything that changes the log (records, new and altered topics, committed offsets) is written here first,
as groups. A group is one write and is all there or not at all. Journals are numbered; a new one is begun
when the current one is full, and the old one goes when its records are in the segments and the snapshot
says so.

    file     magic, number u64, secret u64, CRC-32 u32
    group    magic, body length u32, CRC-32 u32, secret u64, sequence u64, then entries
    entry    kind u8, body length u32, body

A group counts only with the secret of its file (records that look like groups cannot be mistaken for
one) and the next sequence number. Because a group is written only after the one before was kept, a bad
group with nothing good after it is the torn end of a crash and is cut; a bad group with a good one after
it is damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from pipeline.errors import Damaged
from pipeline.log.embedded.disk import Disk

_log = structlog.get_logger(__name__)

_FILE = struct.Struct("<8sQQI")
_GROUP = struct.Struct("<4sIIQQ")
_ENTRY = struct.Struct("<BI")
_RECORDS_PLACE = struct.Struct("<IH")
_FILE_MAGIC = b"HRJRNL01"
_GROUP_MAGIC = b"HRG\x01"

KIND_RECORDS = 1
KIND_TOPIC = 2
KIND_COMMIT = 3
KIND_ALTER = 4


class Entry(NamedTuple):
    """One change as it stands in the journal."""

    kind: int
    body: bytes


def records_entry(topic: str, partition: int, frame: bytes) -> tuple[bytes, bytes]:
    """Return the entry that adds `frame` to a partition, in two pieces so that the frame is not copied."""
    name = topic.encode()
    place = _RECORDS_PLACE.pack(partition, len(name)) + name
    return _ENTRY.pack(KIND_RECORDS, len(place) + len(frame)) + place, frame


def split_records(body: bytes) -> tuple[str, int, bytes]:
    """Return topic, partition and frame of a records entry."""
    partition, name_bytes = _RECORDS_PLACE.unpack_from(body)
    start = _RECORDS_PLACE.size + name_bytes
    return body[_RECORDS_PLACE.size : start].decode(), partition, body[start:]


def other_entry(kind: int, body: bytes) -> bytes:
    """Return an entry of any other kind."""
    return _ENTRY.pack(kind, len(body)) + body


def journal_path(folder: Path, number: int) -> Path:
    """Return the file of the journal with that number."""
    return folder / f"journal-{number:010d}"


def journal_numbers(folder: Path) -> list[int]:
    """Return the numbers of the journals in a folder, lowest first."""
    names = (path.name.removeprefix("journal-") for path in folder.glob("journal-*"))
    return sorted(int(name) for name in names if name.isdigit())


class Journal:
    """The journal that is written to. Used by one thread."""

    def __init__(self, disk: Disk, folder: Path, number: int, secret: int, sequence: int) -> None:
        """Begin journal `number` with an empty file; `sequence` is that of its first group.

        Raises:
            OSError: The disk does not take it. Nothing is open then.
        """
        self.number = number
        self.path = journal_path(folder, number)
        self.sequence = sequence
        self._disk = disk
        self._secret = secret
        head = _FILE.pack(_FILE_MAGIC, number, secret, 0)
        head = head[:-4] + struct.pack("<I", zlib.crc32(head))
        self._descriptor = disk.open(self.path, create=True)
        try:
            # A crash before the folder is synced leaves no journal, or one without groups: both are empty.
            disk.write_synced(self._descriptor, [head], 0)
            disk.sync_folder(folder)
        except OSError:
            disk.close(self._descriptor)
            raise
        self.size_bytes = len(head)
        self._torn = False

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write one group, whose entries are the pieces put together, and return when it is kept.

        Raises:
            OSError: It is not kept. What was written of it is cut off before the next group is taken.
        """
        self.repair()
        head = _group_head(pieces, self._secret, self.sequence)
        self._torn = True
        # A crash from here on leaves the group torn, or whole without anybody having been told.
        self._disk.write_synced(self._descriptor, [head, *pieces], self.size_bytes)
        self._torn = False
        self.size_bytes += len(head) + sum(map(len, pieces))
        self.sequence += 1

    def repair(self) -> None:
        """Cut off what a failed write left behind; raises `OSError` when even that fails."""
        if not self._torn:
            return
        self._disk.truncate(self._descriptor, self.size_bytes)
        self._disk.sync(self._descriptor)
        self._torn = False

    def close(self) -> None:
        """Close the file; what `append` returned from is kept."""
        try:
            self.repair()
        except OSError as error:
            # Reading the journal finds the end of the whole groups without this.
            _log.warning("torn end of the journal left in place", path=str(self.path), reason=str(error))
        finally:
            self._disk.close(self._descriptor)


def _group_head(pieces: Sequence[bytes], secret: int, sequence: int) -> bytes:
    length = sum(map(len, pieces))
    crc = zlib.crc32(_GROUP.pack(_GROUP_MAGIC, length, 0, secret, sequence))
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return _GROUP.pack(_GROUP_MAGIC, length, crc, secret, sequence)


class JournalReader:
    """The groups of one journal file, as they were found at start.

    Args:
        path: The journal.
        last: Whether it is the newest one, the only one that may end torn.
    """

    def __init__(self, path: Path, *, last: bool) -> None:
        self.path = path
        self.begun = False
        """Whether the file has its head; without it the file is as good as not there."""
        self.end_bytes = 0
        """End of the last whole group given so far; what follows at the end of all is torn."""
        self._last = last
        self._data = path.read_bytes()

    def groups(self, sequence: int | None) -> Iterator[tuple[int, list[Entry]]]:
        """Give sequence number and entries of each group.

        Args:
            sequence: The number the first group must have; None takes any.

        Raises:
            Damaged: Something in the middle is not what was written.
        """
        secret = self._read_secret()
        if secret is None:
            return
        self.begun = True
        position = self.end_bytes = _FILE.size
        while position < len(self._data):
            found = self._group_at(position, secret)
            if found is None or (sequence is not None and found[0] != sequence):
                self._judge_end(position, secret)
                return
            sequence, body = found
            position += _GROUP.size + len(body)
            self.end_bytes = position
            yield sequence, list(_split(body))
            sequence += 1

    def _read_secret(self) -> int | None:
        """Return the secret of the file, None when the file was never finished."""
        if len(self._data) >= _FILE.size:
            magic, number, secret, crc = _FILE.unpack_from(self._data)
            bare = _FILE.pack(magic, number, secret, 0)
            if magic == _FILE_MAGIC and crc == zlib.crc32(bare):
                return int(secret)
        # No group is written before the head is kept, so an unfinished head has nothing behind it.
        if len(self._data) > _FILE.size or not self._last:
            raise Damaged(f"read the log journal {self.path}", "its head is damaged (offset 0)", _TODO)
        return None

    def _group_at(self, position: int, secret: int) -> tuple[int, bytes] | None:
        if len(self._data) - position < _GROUP.size:
            return None
        magic, length, crc, its_secret, sequence = _GROUP.unpack_from(self._data, position)
        end = position + _GROUP.size + length
        if magic != _GROUP_MAGIC or its_secret != secret or end > len(self._data):
            return None
        bare = _GROUP.pack(magic, length, 0, its_secret, sequence)
        body = self._data[position + _GROUP.size : end]
        if zlib.crc32(body, zlib.crc32(bare)) != crc:
            return None
        return sequence, body

    def _judge_end(self, position: int, secret: int) -> None:
        """Tell the torn end of a crash, which is dropped, from damage, which is raised."""
        after = self._data.find(_GROUP_MAGIC, position + 1)
        while after >= 0 and self._group_at(after, secret) is None:
            after = self._data.find(_GROUP_MAGIC, after + 1)
        if after >= 0 or not self._last:
            raise Damaged(
                f"read the log journal {self.path}",
                f"what stands at offset {position} is not what was written, and more follows it",
                _TODO,
            )
        _log.warning(
            "log repaired: cut off what a crash left unfinished; nobody was told it was stored",
            path=str(self.path),
            offset=position,
            cut_bytes=len(self._data) - position,
        )


_TODO = "bring the file back from a copy, or move it away to go on without what it holds"


def _split(body: bytes) -> Iterator[Entry]:
    position = 0
    while position < len(body):
        kind, length = _ENTRY.unpack_from(body, position)
        start = position + _ENTRY.size
        position = start + length
        yield Entry(kind, body[start:position])
