"""A disk that loses power: what was not synced is gone, or there in part.

Every operation is carried out for real and remembered. When the power goes, all further operations fail;
`restore` then puts the folder into a state a real disk could be in: synced contents and names are as they
were, of the rest a random part is there, and the last write may be torn at any byte.
"""

from __future__ import annotations

import errno
import random
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.log.embedded.disk import Disk


class _File:
    """Contents of a file: what is kept, and the changes that are not yet."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.changes: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        for change in self.changes:
            _apply(self.kept, change)
        self.changes.clear()

    def after_crash(self, chance: random.Random) -> bytes:
        """Return kept contents plus any part of the changes, in any order of arrival."""
        contents = bytearray(self.kept)
        for position, data in self.changes:
            luck = chance.random()
            if luck < 0.4:
                _apply(contents, (position, data))
            elif luck < 0.8 and data:
                _apply(contents, (position, data[: chance.randrange(len(data))]))
        return bytes(contents)


def _apply(contents: bytearray, change: tuple[int, bytes | None]) -> None:
    position, data = change
    if len(contents) < position:
        contents += bytes(position - len(contents))
    if data is None:
        del contents[position:]
    else:
        contents[position : position + len(data)] = data


class PowerDisk(Disk):
    """Loses power at operation number `fails_at`; never, when that is 0."""

    def __init__(self, fails_at: int = 0) -> None:
        self._fails_at = fails_at
        self.operations = 0
        self.off = False
        self._lock = threading.RLock()
        self._open: dict[int, _File] = {}
        self._names: dict[Path, _File] = {}
        self._kept_names: dict[Path, _File] = {}
        self._name_changes: list[tuple[Path, _File | None]] = []

    def _tick(self) -> None:
        self.operations += 1
        self.off = self.off or self.operations == self._fails_at

    def _check(self) -> None:
        if self.off:
            raise OSError(errno.EIO, "power lost")

    def adopt(self, folder: Path) -> None:
        """Take what lies in a folder as kept."""
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "lock":
                file = _File()
                file.kept = bytearray(path.read_bytes())
                self._names[path] = self._kept_names[path] = file

    def open(self, path: Path, *, create: bool = False) -> int:
        with self._lock:
            self._tick()
            self._check()
            descriptor = super().open(path, create=create)
            file = self._names.get(path)
            if file is None:
                file = self._names[path] = _File()
                self._name_changes.append((path, file))
            elif create:
                file.changes.append((0, None))
            self._open[descriptor] = file
            return descriptor

    def close(self, descriptor: int) -> None:
        with self._lock:
            self._open.pop(descriptor)
            super().close(descriptor)

    def write(self, descriptor: int, pieces: Sequence[bytes], position: int) -> None:
        with self._lock:
            self._check()
            self._tick()
            self._open[descriptor].changes.append((position, b"".join(pieces)))
            self._check()  # the power may go during this very write
            super().write(descriptor, pieces, position)

    def write_synced(self, descriptor: int, pieces: Sequence[bytes], position: int) -> None:
        with self._lock:
            self.write(descriptor, pieces, position)
            self._open[descriptor].sync()

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        with self._lock:
            self._check()
            self._tick()
            self._open[descriptor].changes.append((size_bytes, None))
            self._check()
            super().truncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        with self._lock:
            self._tick()
            self._check()
            self._open[descriptor].sync()

    def make_folder(self, path: Path) -> None:
        with self._lock:
            self._check()
            path.mkdir(parents=True, exist_ok=True)

    def replace(self, source: Path, target: Path) -> None:
        with self._lock:
            self._check()
            self._tick()
            file = self._names.pop(source)
            self._names[target] = file
            self._name_changes += [(target, file), (source, None)]
            self._check()
            super().replace(source, target)

    def remove(self, path: Path) -> None:
        with self._lock:
            self._check()
            self._tick()
            self._names.pop(path, None)
            self._name_changes.append((path, None))
            self._check()
            super().remove(path)

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            self._tick()
            self._check()
            rest = []
            for change in self._name_changes:
                if change[0].parent == path:
                    _rename(self._kept_names, change)
                else:
                    rest.append(change)
            self._name_changes = rest

    def restore(self, folder: Path, chance: random.Random) -> None:
        """Put the folder into a state the crash may have left."""
        survived = chance.randint(0, len(self._name_changes))
        for change in self._name_changes[:survived]:
            _rename(self._kept_names, change)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
        for path, file in self._kept_names.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.after_crash(chance))


def _rename(names: dict[Path, _File], change: tuple[Path, _File | None]) -> None:
    path, file = change
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file
