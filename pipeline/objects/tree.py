"""The files of a folder store: where a key lies, and how an object gets there whole or not at all.

An object is written to a file of its own below `.partial`, flushed to disk, given its name, and the folder
with that name is flushed. A crash at any point leaves the old object or the new one, and at most an
unfinished file, which the next start removes. Everything is reached from the root's descriptor, one
folder at a time and never through a symbolic link, so that no key and no link leads outside.

Layout (dispatcher contract, section 18): a key that ends in a SHA-256, or in one with the endings of
an encoded form, lies in two shard folders, ``<source>/<label>/<h1>/<h2>/<sha256>``; any other key is its
own path. All functions block.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat as modes
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipeline import limits
from pipeline.errors import BadInput, Conflict, Damaged, Unavailable
from pipeline.objects import keys
from pipeline.objects.faults import file_faults
from pipeline.objects.open_folders import OpenFolders
from pipeline.objects.port import Stat
from pipeline.objects.scratch import Scratch

_FOLDER_MODE = 0o755
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ATTRIBUTE = "user.headrace.metadata"
_Parts = tuple[str, ...]


class Tree:
    """The files below one root.

    Args:
        root: Made when missing. It may be a symbolic link itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = Scratch(root / keys.PARTIAL)
        self._descriptor = -1
        self._making = threading.Lock()
        self._folders = OpenFolders(limits.FOLDERS_OPEN)

    def open(self) -> None:
        """Make the root when missing and remove what dead processes left; safe to repeat."""
        if self._descriptor >= 0:
            return
        with file_faults(f"open the object folder {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
            self.root = self.root.resolve()
            self.scratch.open()
            self._descriptor = os.open(self.root, _OPEN_FOLDER)

    def close(self) -> None:
        """Let go of the root; safe to repeat."""
        self.scratch.close()
        self._folders.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def path(self, key: str) -> Path:
        """Return where an object lies."""
        folder, name = _place(key)
        return self.root.joinpath(*folder, name)

    # --- reading ---

    def open_object(self, key: str) -> int | None:
        """Return a descriptor of an object, None when there is none."""
        folder, name = _place(key)
        with file_faults(f"read {key}"), self._folder(folder) as parent:
            if parent is None:
                return None
            descriptor = _open_or_none(name, _OPEN_FILE, parent)
        if descriptor is not None and not modes.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return descriptor

    def stat(self, key: str) -> Stat | None:
        """Return what is known about an object, None when there is none."""
        descriptor = self.open_object(key)
        if descriptor is None:
            return None
        try:
            return stat_of(key, descriptor)
        finally:
            os.close(descriptor)

    # --- writing ---

    def publish(self, name: str, key: str, *, only_if_absent: bool, durably: bool = True) -> None:
        """Make an unfinished, flushed file the object of a key; durable when it returns.

        Not `durably`, the caller flushes the folder (`flush_folder_of`) before telling anybody.

        Raises:
            Conflict: There is one already and `only_if_absent` was asked for, or the place is taken by
                a folder or lies below an object.
        """
        folder, last = _place(key)
        with file_faults(f"store {key}"), self._kept_folder(folder) as parent:
            try:
                if only_if_absent:
                    # A crash after this line leaves the whole object and, beside it, the unfinished name.
                    os.link(name, last, src_dir_fd=self.scratch.descriptor, dst_dir_fd=parent)
                    self.scratch.remove(name)
                else:
                    # A crash before this line leaves the old object, after it the new one.
                    os.replace(name, last, src_dir_fd=self.scratch.descriptor, dst_dir_fd=parent)
            except FileExistsError as error:
                raise Conflict(f"store {key}", "there is one already") from error
            except IsADirectoryError as error:
                raise Conflict(f"store {key}", "other objects lie below this key") from error
            except FileNotFoundError as error:
                self._folders.forget(folder)
                why = "its folder vanished"
                raise Unavailable(f"store {key}", why, "leave the object folder alone") from error
            finally:
                # Before anyone is told "stored" or "already there", that name is on disk.
                if durably:
                    os.fsync(parent)

    def flush_folder_of(self, key: str) -> None:
        """Bring the names in the folder of a key to disk."""
        with file_faults(f"store {key}"), self._kept_folder(_place(key)[0]) as parent:
            os.fsync(parent)

    def delete(self, key: str) -> bool:
        """Remove an object; True when there was one. Durable when it returns."""
        folder, name = _place(key)
        with file_faults(f"delete {key}"), self._folder(folder) as parent:
            if parent is None:
                return False
            try:
                os.unlink(name, dir_fd=parent)
            except (FileNotFoundError, IsADirectoryError):
                return False
            os.fsync(parent)
            return True

    # --- listing ---

    def walk(self, prefix: str) -> Generator[Stat, None, None]:
        """Yield the objects whose key starts with the prefix, without their metadata."""
        waiting = [tuple(prefix.split("/")[:-1])]
        while waiting:
            folder = waiting.pop()
            with file_faults(f"list {'/'.join(folder)}"), self._folder(folder) as here:
                if here is None:
                    continue
                with os.scandir(here) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if folder or entry.name != keys.PARTIAL:
                                waiting.append((*folder, entry.name))
                        elif (found := _listed(folder, entry)) and found.key.startswith(prefix):
                            yield found

    # --- folders ---

    @contextmanager
    def _folder(self, folder: _Parts) -> Iterator[int | None]:
        """Open a folder below the root, step by step; None when it is not there."""
        descriptor = os.dup(self._root())
        found = True
        try:
            for name in folder:
                below = _open_or_none(name, _OPEN_FOLDER, descriptor)
                if below is None:
                    found = False
                    break
                os.close(descriptor)
                descriptor = below
            yield descriptor if found else None
        finally:
            os.close(descriptor)

    @contextmanager
    def _kept_folder(self, folder: _Parts) -> Iterator[int]:
        """Give a folder to put objects into, made when missing, as a descriptor that stays for the next."""
        descriptor = self._folders.take(folder)
        if descriptor is None:
            descriptor = self._folders.add(folder, self._made(folder))
        try:
            yield descriptor
        finally:
            self._folders.give_back(folder, descriptor)

    def _made(self, folder: _Parts) -> int:
        """Make a folder and those above it, each durable before anything is put into it; open it."""
        with self._making:
            for depth in range(len(folder)):
                with self._folder(folder[:depth]) as parent:
                    if parent is not None:
                        _make_folder(folder[depth], parent)
            with self._folder(folder) as made:
                if made is None:
                    raise Unavailable(
                        f"make the folder {'/'.join(folder)}",
                        "it vanished",
                        "leave the object folder alone",
                    )
                return os.dup(made)

    @property
    def descriptor(self) -> int:
        """The open root."""
        return self._root()

    def _root(self) -> int:
        if self._descriptor < 0:
            raise Unavailable(
                f"use the object folder {self.root}", "it is not open", "open the store first"
            )
        return self._descriptor


def stat_of(key: str, descriptor: int) -> Stat:
    """Return what is known about an open object."""
    found = os.fstat(descriptor)
    return Stat(key, found.st_size, modified(found), _read_metadata(key, descriptor))


def write_metadata(descriptor: int, metadata: Mapping[str, str]) -> None:
    """Keep metadata with an unfinished file, as one extended attribute.

    So they appear with the object in the same rename and cannot be of another one; a second file could.

    Raises:
        Unavailable: The file system keeps no extended attributes.
    """
    if not metadata:
        return
    try:
        os.setxattr(descriptor, _ATTRIBUTE, msgspec.json.encode(metadata))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        raise Unavailable(
            "store the metadata of an object",
            "this file system keeps no extended attributes",
            "move the object folder to ext4, xfs or btrfs",
        ) from error


def _read_metadata(key: str, descriptor: int) -> dict[str, str]:
    try:
        encoded = os.getxattr(descriptor, _ATTRIBUTE)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP}:
            return {}
        raise
    try:
        return msgspec.json.decode(encoded, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Damaged(f"read the metadata of {key}", str(error)) from error


def _place(key: str) -> tuple[_Parts, str]:
    *folder, name = keys.check(key).split("/")
    if keys.is_content(name):
        folder += [name[0], name[1]]
    return tuple(folder), name


def _listed(folder: _Parts, entry: os.DirEntry[str]) -> Stat | None:
    if keys.is_content(entry.name):
        if folder[-2:] != (entry.name[0], entry.name[1]):
            return None
        folder = folder[:-2]
    try:
        key = keys.check("/".join((*folder, entry.name)))
        if not entry.is_file(follow_symlinks=False):
            return None
        found = entry.stat(follow_symlinks=False)
    except (BadInput, FileNotFoundError):  # not a name of ours, or deleted since the folder was read
        return None
    return Stat(key, found.st_size, modified(found))


def modified(found: os.stat_result) -> dt.datetime:
    """Return when a file was last written."""
    return dt.datetime.fromtimestamp(found.st_mtime, dt.UTC)


def _open_or_none(name: str, flags: int, parent: int) -> int | None:
    """Open a name in a folder; None when it is missing, a symbolic link, or not of the wanted kind."""
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        if not modes.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Conflict(
                "store an object", f"{name} on its way is an object or a link, no folder"
            ) from None
        return
    os.chmod(name, _FOLDER_MODE, dir_fd=parent)  # whatever the umask
    os.fsync(parent)
