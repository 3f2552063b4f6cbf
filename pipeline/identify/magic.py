"""libmagic: what kind of file this is, as a description and as a MIME type.

Binds the library and database that the pylibmagic package carries, by their paths, so that no system
package and no setting of the environment has a say. One cookie serves a whole process; it is not safe
across threads. The MIME type is the one ``file --mime-type`` prints with the same library: it is asked for
without "all matches", since with it the first line may be empty or come from a later match.
Contract: dispatcher section 17.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline import limits
from pipeline.errors import HeadraceError

_MIME_TYPE = 0x10
_CONTINUE = 0x20
_RAW = 0x100
_ERROR = 0x200

EMPTY_MIME = "inode/x-empty"
EMPTY_DESCRIPTION = "empty"


class Seen(NamedTuple):
    """What libmagic said about a file."""

    descriptions: Sequence[str]
    """Every match, best first."""
    mime: str
    """The MIME type of the best match."""
    other_mimes: Callable[[], Sequence[str]]
    """Asks for the MIME types of all matches; only called when the rest does not say enough."""


class MagicError(HeadraceError):
    """libmagic gave up."""


class Magic:
    """One libmagic cookie with the bundled database loaded.

    Raises:
        MagicError: The library or its database cannot be loaded.
    """

    def __init__(self) -> None:
        folder = library_folder()
        self._library = _load(folder)
        self._cookie = self._library.magic_open(_RAW)
        database = str(folder / "magic.mgc")
        if not self._cookie or self._library.magic_load(self._cookie, database.encode()) != 0:
            raise MagicError("load the database of libmagic", f"{database}: {self._error()}")

    @property
    def version(self) -> int:
        """The library's version, major times 100 plus minor."""
        return int(self._library.magic_version())

    def descriptions(self, descriptor: int) -> list[str]:
        """Describe an open file: every match, the best first.

        Raises:
            MagicError: libmagic cannot read or describe it.
            For all three questions; `MemoryError` when it ran out of memory.
        """
        return self._ask(descriptor, _CONTINUE)

    def mime_type(self, descriptor: int) -> str:
        """Return the MIME type of an open file, without parameters.

        Raises:
            MagicError: libmagic cannot read it.
        """
        lines = self._ask(descriptor, _MIME_TYPE)
        return lines[0] if lines else ""

    def mime_types(self, descriptor: int) -> list[str]:
        """Return the MIME types of all matches, some of which `mime_type` does not see.

        Raises:
            MagicError: libmagic cannot read it.
        """
        return self._ask(descriptor, _MIME_TYPE | _CONTINUE)

    def mime_type_of(self, block: bytes) -> str:
        """Return the MIME type of bytes in memory.

        Raises:
            MagicError: libmagic cannot tell it.
        """
        self._library.magic_setflags(self._cookie, _MIME_TYPE | _RAW | _ERROR)
        lines = self._answer(self._library.magic_buffer(self._cookie, block, len(block)))
        return lines[0] if lines else ""

    def _ask(self, descriptor: int, flags: int) -> list[str]:
        # libmagic reads from wherever the descriptor stands.
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._library.magic_setflags(self._cookie, flags | _RAW | _ERROR)
        return self._answer(self._library.magic_descriptor(self._cookie, descriptor))

    def _answer(self, answer: bytes | None) -> list[str]:
        if answer is None:
            if self._library.magic_errno(self._cookie) == errno.ENOMEM:
                raise MemoryError
            raise MagicError("ask libmagic", self._error())
        return _lines(answer)

    def _error(self) -> str:
        text = self._library.magic_error(self._cookie) if self._cookie else None
        return (text or b"no reason given").decode("utf-8", "replace")


def library_folder() -> Path:
    """Return the folder of the bundled library and database.

    The package is found but not imported: importing it changes ctypes and the environment for everybody.

    Raises:
        MagicError: The pylibmagic package is not installed.
    """
    found = importlib.util.find_spec("pylibmagic")
    if found is None or not found.submodule_search_locations:
        raise MagicError("find libmagic", "the package pylibmagic is missing", "install it with pip")
    return Path(found.submodule_search_locations[0])


def published(line: str) -> str:
    """Return a line as the contract publishes it: ASCII only, others as ``.``, of bounded length."""
    line = line[: limits.MAGIC_TEXT_MAX_CHARACTERS]
    return line if line.isascii() else "".join(c if c.isascii() else "." for c in line)


def _lines(answer: bytes) -> list[str]:
    lines = (
        line.lstrip().removeprefix("- ").strip() for line in answer.decode("utf-8", "replace").split("\n")
    )
    return [line for line in lines if line]


def _load(folder: Path) -> ctypes.CDLL:
    path = folder / "libmagic.so.1"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise MagicError(f"load {path}", str(error)) from error
    cookie = ctypes.c_void_p
    library.magic_open.restype = cookie
    library.magic_open.argtypes = [ctypes.c_int]
    library.magic_load.argtypes = [cookie, ctypes.c_char_p]
    library.magic_setflags.argtypes = [cookie, ctypes.c_int]
    library.magic_descriptor.restype = ctypes.c_char_p
    library.magic_descriptor.argtypes = [cookie, ctypes.c_int]
    library.magic_buffer.restype = ctypes.c_char_p
    library.magic_buffer.argtypes = [cookie, ctypes.c_char_p, ctypes.c_size_t]
    library.magic_errno.argtypes = [cookie]
    library.magic_error.restype = ctypes.c_char_p
    library.magic_error.argtypes = [cookie]
    return library
