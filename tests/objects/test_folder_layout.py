"""How a folder store lies on disk (dispatcher contract, section 18), and that nothing leads out of it."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.errors import Conflict, Damaged, NotFound, Unavailable
from pipeline.objects.folder import FolderStore
from tests.stores import bytes_of, pieces

SHA256 = "ab" + "0" * 62
KEY = f"source/content/{SHA256}"
LARGE_BYTES = 2 * limits.OBJECT_BATCH_BYTES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the folder of the store."""
    return tmp_path / "objects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[FolderStore]:
    """Give an empty store."""
    opened = FolderStore(root)
    await opened.open()
    yield opened
    await opened.close()


async def _read(store: FolderStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("source_bytes", [5, LARGE_BYTES])
async def test_content_lies_in_two_shard_folders_with_the_agreed_rights(
    store: FolderStore, root: Path, source_bytes: int
) -> None:
    mask = os.umask(0o077)
    try:
        await store.put(KEY, pieces(bytes_of(source_bytes)))
    finally:
        os.umask(mask)

    path = root / "source" / "content" / "a" / "b" / SHA256
    assert _files(root) == {str(path.relative_to(root))}
    assert path.stat().st_mode & 0o777 == 0o640
    for folder in (path.parent, path.parent.parent, root / "source"):
        assert folder.stat().st_mode & 0o777 == 0o755


async def test_the_stored_file_itself_is_given_not_a_copy(store: FolderStore, root: Path) -> None:
    await store.put(KEY, b"x")
    async with store.file(KEY) as path:
        assert path == root / "source" / "content" / "a" / "b" / SHA256


async def test_links_below_the_root_lead_nowhere(store: FolderStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")

    for key in ("folder/secret", "file"):
        assert await store.stat(key) is None
        with pytest.raises(NotFound):
            await store.get(key)
        with pytest.raises(NotFound):
            await store.copy(key, "a/b")
    assert await store.delete("folder/secret") is False
    with pytest.raises(Conflict):
        await store.put("folder/new", b"x")
    await store.put("file", b"replaced")

    assert {stat.key async for stat in store.list()} == {"file"}
    assert (outside / "secret").read_bytes() == b"secret"
    assert _files(outside) == {"secret"}


async def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    store = FolderStore(tmp_path / "link")
    await store.open()
    await store.put("a/b", b"x")
    await store.close()
    assert (real / "a" / "b").read_bytes() == b"x"


async def test_a_key_below_an_object_or_above_objects_is_a_conflict(store: FolderStore) -> None:
    await store.put("a/b", b"x")
    for key in ("a/b/c", "a"):
        with pytest.raises(Conflict):
            await store.put(key, b"y")
        assert await store.stat(key) is None
    assert await store.delete("a") is False
    assert await _read(store, "a/b") == b"x"


def _put_beside(folder: Path) -> None:
    (folder / SHA256).write_bytes(b"not in its shards")
    os.mkfifo(folder / "pipe")
    Path(os.fsdecode(bytes(folder) + b"/\xff")).write_bytes(b"no text")


async def test_files_of_others_are_no_objects(store: FolderStore, root: Path) -> None:
    await store.put("a/mine", b"x")
    _put_beside(root / "a")

    assert {stat.key async for stat in store.list()} == {"a/mine"}
    assert await store.stat("a/pipe") is None


async def test_what_is_being_read_stays_when_it_is_replaced_or_deleted(store: FolderStore) -> None:
    data = bytes_of(LARGE_BYTES)
    await store.put(KEY, data)
    before_replacing = await store.get(KEY)
    await store.put(KEY, b"other")
    before_deleting = await store.get(KEY)
    await store.delete(KEY)
    assert b"".join([chunk async for chunk in before_replacing]) == data
    assert b"".join([chunk async for chunk in before_deleting]) == b"other"


async def test_a_file_cut_behind_our_back_is_never_passed_on_as_whole(store: FolderStore) -> None:
    await store.put(KEY, bytes_of(LARGE_BYTES))
    download = await store.get(KEY)
    async with store.file(KEY) as path:
        os.truncate(path, LARGE_BYTES - 1)
    with pytest.raises(Damaged):
        async for _ in download:
            pass


async def test_downloads_that_are_dropped_leave_no_file_open(store: FolderStore) -> None:
    await store.put(KEY, bytes_of(LARGE_BYTES))
    before = _open_files()
    for _ in range(10):
        await store.get(KEY)
        async for _chunk in await store.get(KEY):
            break
    async with asyncio.timeout(10):
        while _open_files() > before:  # an iteration that was left is closed by the event loop, soon
            gc.collect()
            await asyncio.sleep(0)


async def test_a_draft_is_not_gone_before_its_last_write_has_ended(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real_write, ended = threading.Event(), os.write, threading.Event()

    def held_write(descriptor: int, data: bytes) -> int:
        gate.wait(30)
        try:
            return real_write(descriptor, data)
        finally:
            ended.set()

    async def leave_a_draft() -> bool:
        async with store.draft() as draft:
            monkeypatch.setattr(os, "write", held_write)
            await draft.write(b"x")
        return ended.is_set()

    leaving = asyncio.create_task(leave_a_draft())
    for _ in range(20):
        for _turn in range(100):
            await asyncio.sleep(0)
        leaving.cancel()
    assert not leaving.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert ended.is_set()


async def test_two_open_stores_on_one_folder_leave_each_others_work_alone(root: Path) -> None:
    one, two = FolderStore(root), FolderStore(root)
    await one.open()
    async with one.draft() as draft:
        await draft.write(bytes_of(LARGE_BYTES))
        await two.open()
        await two.put("a/two", b"2")
        await two.close()
        await draft.commit("a/one")
    assert {stat.key async for stat in one.list()} == {"a/one", "a/two"}
    await one.close()
    await one.close()
    assert _files(root) == {"a/one", "a/two"}
    assert list((root / ".partial").iterdir()) == []


async def test_a_closed_store_says_so(root: Path) -> None:
    store = FolderStore(root)
    with pytest.raises(Unavailable, match="not open"):
        await store.put("a/b", b"x")
    await store.open()
    await store.close()
    with pytest.raises(Unavailable, match="not open"):
        await store.stat("a/b")


async def test_a_folder_removed_meanwhile_is_made_again(store: FolderStore, root: Path) -> None:
    await store.put("a/b", b"x")
    (root / "a" / "b").unlink()
    (root / "a").rmdir()
    with pytest.raises(Unavailable):
        await store.put("a/b", b"x")
    await store.put("a/b", b"x")
    assert await _read(store, "a/b") == b"x"


async def test_metadata_are_never_dropped_silently(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without extended attributes is not to be had here, so its answer is given for it."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(Unavailable, match="extended attributes"):
        await store.put("a/b", b"x", metadata={"name": "x"})
    await store.put("a/c", b"x")
    assert {stat.key async for stat in store.list()} == {"a/c"}
