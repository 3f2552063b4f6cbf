"""libmagic: what kind of file this is, as a description and as a MIME type.

Binds the newer of two libraries: the one the pylibmagic package carries, so that nothing needs a system
package, and the one of the system, which its updates keep current and which its ``file`` command uses. No
setting of the environment has a say. One cookie serves a whole process; it is not safe across threads.
The MIME type is the one ``file --mime-type`` prints with the same library: it is asked for without "all
matches", since with it the first line may be empty or come from a later match.
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
_NAME = "libmagic.so.1"

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
    """One libmagic cookie with the database of its library loaded.

    Raises:
        MagicError: The library or its database cannot be loaded.
    """

    def __init__(self) -> None:
        self._library, database = newest()
        # The library would look there before its own place; whoever sets it means another program.
        os.environ.pop("MAGIC", None)
        self._cookie = self._library.magic_open(_RAW)
        path = str(database).encode() if database else None
        if not self._cookie or self._library.magic_load(self._cookie, path) != 0:
            raise MagicError(
                "load the database of libmagic", f"{database or 'the usual one'}: {self._error()}"
            )

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


def newest() -> tuple[ctypes.CDLL, Path | None]:
    """Return the newer of the system's library and the bundled one, with its database.

    The system's comes with a database of its own, given as None.

    Raises:
        MagicError: There is neither.
    """
    try:
        # First, because a name without a path finds whatever library of that name is loaded already.
        system = _load(_NAME)
    except MagicError:
        system = None
    bundled, database = _bundled()
    if system is not None and (bundled is None or system.magic_version() >= bundled.magic_version()):
        return system, None
    if bundled is None:
        raise MagicError("find libmagic", "the package pylibmagic is missing", "install it with pip")
    return bundled, database


def _bundled() -> tuple[ctypes.CDLL | None, Path | None]:
    # The package is found but not imported: importing it changes ctypes and the environment for everybody.
    found = importlib.util.find_spec("pylibmagic")
    if found is None or not found.submodule_search_locations:
        return None, None
    folder = Path(found.submodule_search_locations[0])
    return _load(str(folder / _NAME)), folder / "magic.mgc"


def published(line: str) -> str:
    """Return a line as the contract publishes it: ASCII only, others as ``.``, of bounded length."""
    line = line[: limits.MAGIC_TEXT_MAX_CHARACTERS]
    return line if line.isascii() else "".join(c if c.isascii() else "." for c in line)


def _lines(answer: bytes) -> list[str]:
    lines = (
        line.lstrip().removeprefix("- ").strip() for line in answer.decode("utf-8", "replace").split("\n")
    )
    return [line for line in lines if line]


def _load(path: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
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
