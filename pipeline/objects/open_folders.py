"""Folders kept open, so that storing an object does not walk to its folder again.

Every step of such a walk is a system call that lets go of the interpreter's lock and has to win it back;
many small objects spent more time on that than on being written.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict


class _Open:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 0


class OpenFolders:
    """Open folders by name, those used last; safe across threads.

    Args:
        most: How many stay open besides those in use.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, ...], _Open] = OrderedDict()
        self._left: dict[int, _Open] = {}
        """Forgotten while in use; closed by the last user."""

    def take(self, folder: tuple[str, ...]) -> int | None:
        """Give the descriptor of a folder that is open, to be given back; None when it is not."""
        with self._lock:
            entry = self._open.get(folder)
            if entry is None:
                return None
            self._open.move_to_end(folder)
            entry.users += 1
            return entry.descriptor

    def add(self, folder: tuple[str, ...], descriptor: int) -> int:
        """Keep a folder that was just opened, and take it; gives back another's if that was faster."""
        with self._lock:
            entry = self._open.get(folder)
            if entry is None:
                entry = self._open[folder] = _Open(descriptor)
            else:
                os.close(descriptor)
            entry.users += 1
            self._close_some()
            return entry.descriptor

    def give_back(self, folder: tuple[str, ...], descriptor: int) -> None:
        """End a use begun by `take` or `add`."""
        with self._lock:
            entry = self._left.get(descriptor) or self._open[folder]
            entry.users -= 1
            if not entry.users and self._left.pop(descriptor, None) is not None:
                os.close(descriptor)

    def forget(self, folder: tuple[str, ...]) -> None:
        """Keep a folder no longer: it has vanished."""
        with self._lock:
            entry = self._open.pop(folder, None)
            if entry is not None:
                self._leave(entry)

    def close(self) -> None:
        """Close every folder; safe to repeat."""
        with self._lock:
            while self._open:
                self._leave(self._open.popitem()[1])

    def _close_some(self) -> None:
        idle = [folder for folder, entry in self._open.items() if not entry.users]
        for folder in idle[: max(0, len(self._open) - self._most)]:
            os.close(self._open.pop(folder).descriptor)

    def _leave(self, entry: _Open) -> None:
        if entry.users:
            self._left[entry.descriptor] = entry
        else:
            os.close(entry.descriptor)
