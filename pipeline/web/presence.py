"""The note a running server leaves in its data folder, so that commands find it.

``<data>/server.json`` holds its URL and process id. It is a hint, never a lock: a note whose process is
gone is ignored and overwritten, and a server removes only its own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

NAME = "server.json"


class Presence(msgspec.Struct, frozen=True):
    """Where a server listens, and which process it is."""

    url: str
    pid: int
    version: str


def announce(data_folder: Path, presence: Presence) -> None:
    """Write the note; whoever reads meanwhile sees the old one or the new one, never a part."""
    data_folder.mkdir(parents=True, exist_ok=True)
    temporary = data_folder / f".{NAME}.{presence.pid}"
    temporary.write_bytes(msgspec.json.encode(presence))
    # A crash here leaves the temporary file and the old note; both are harmless.
    temporary.replace(data_folder / NAME)


def withdraw(data_folder: Path, presence: Presence) -> None:
    """Remove the note if it is still ours."""
    if _read(data_folder) == presence:
        with suppress(OSError):  # the folder was removed or made read-only meanwhile
            (data_folder / NAME).unlink()


def find(data_folder: Path) -> Presence | None:
    """Return the note of a server whose process is alive, None when there is none."""
    presence = _read(data_folder)
    if presence is None or not _alive(presence.pid):
        return None
    return presence


def _read(data_folder: Path) -> Presence | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((data_folder / NAME).read_bytes(), type=Presence)
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it runs under another account
    return True
