"""Two stores as one: what was acknowledged is in both, whatever fails in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import metrics_archive
from pipeline.app import archive_of, make_parts, open_parts
from pipeline.errors import Conflict, NotFound, SettingError, Unavailable
from pipeline.objects.copies import CopiedStore, each
from pipeline.objects.memory import MemoryStore
from pipeline.settings import load
from tests.stores import pieces

KEY = "topic/2024/1/1/0/object.bson"


class Failing(MemoryStore):
    """A store that is down when told so."""

    down = False

    async def put(self, key: str, source: Any, **options: Any) -> Any:
        """Store, or fail."""
        if self.down:
            raise Unavailable(f"store {key}", "connection refused")
        return await super().put(key, source, **options)

    async def delete(self, key: str, **options: Any) -> bool:
        """Delete, or fail."""
        if self.down:
            raise Unavailable(f"delete {key}", "connection refused")
        return await super().delete(key, **options)


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Failing]:
    """Give the first store."""
    store = Failing(tmp_path / "first")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def second(tmp_path: Path) -> AsyncIterator[Failing]:
    """Give the second store."""
    store = Failing(tmp_path / "second")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def store(first: Failing, second: Failing) -> CopiedStore:
    """Give the two as one."""
    return CopiedStore(first, second)


async def read(store: Any, key: str = KEY) -> bytes:
    """Read an object whole."""
    return b"".join([chunk async for chunk in await store.get(key)])


async def put_other(store: CopiedStore, *, draft: bool) -> None:
    """Try to store other bytes under the key."""
    if not draft:
        await store.put(KEY, b"something else", only_if_absent=True)
        return
    async with store.draft() as other:
        await other.write(b"something else")
        await other.commit(KEY, only_if_absent=True)


@pytest.mark.parametrize("kind", ["bytes", "file", "stream", "draft"])
async def test_what_is_put_is_in_both(store: CopiedStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    if kind == "draft":
        async with store.draft() as draft:
            await draft.write(b"content")
            await draft.commit(KEY, metadata={"name": "x"})
    else:
        source: Any = {"bytes": b"content", "file": path, "stream": pieces(b"content", 3)}[kind]
        await store.put(KEY, source, metadata={"name": "x"})
    for one in each(store):
        assert await read(one) == b"content"
        stat = await one.stat(KEY)
        assert stat is not None
        assert stat.metadata == {"name": "x"}


@pytest.mark.parametrize("only_if_absent", [False, True])
async def test_nothing_is_stored_while_the_second_store_is_down(
    store: CopiedStore, second: Failing, only_if_absent: bool
) -> None:
    second.down = True
    with pytest.raises(Unavailable):
        await store.put(KEY, b"content", only_if_absent=only_if_absent)


@pytest.mark.parametrize("draft", [False, True])
async def test_putting_again_completes_what_was_left_in_one_store(
    store: CopiedStore, second: Failing, draft: bool
) -> None:
    second.down = True
    with pytest.raises(Unavailable):
        await store.put(KEY, b"content", only_if_absent=True)
    second.down = False

    with pytest.raises(Conflict):
        await put_other(store, draft=draft)

    assert await read(second) == await read(store) == b"content"


async def test_what_the_first_store_has_lost_is_read_from_the_second_and_counted(
    store: CopiedStore, first: Failing
) -> None:
    await store.put(KEY, b"content")
    await first.delete(KEY)
    before = metrics_archive.BACKUP_READS._value.get()  # noqa: SLF001 - no public way to read it
    assert await read(store) == b"content"
    assert metrics_archive.BACKUP_READS._value.get() == before + 1  # noqa: SLF001
    assert await store.stat(KEY) is not None
    async with store.file(KEY) as path:
        assert path.read_bytes() == b"content"
    await store.copy(KEY, "other/key")
    for one in each(store):
        assert await read(one, "other/key") == b"content"


async def test_a_deletion_cut_short_leaves_an_object_that_is_listed(
    store: CopiedStore, first: Failing, second: Failing
) -> None:
    await store.put(KEY, b"content")
    first.down = True
    with pytest.raises(Unavailable):
        await store.delete(KEY)
    assert [stat.key async for stat in store.list()] == [KEY]
    first.down = False
    assert await store.delete(KEY)
    for one in (first, second):
        with pytest.raises(NotFound):
            await read(one)


async def test_what_only_the_second_store_has_can_be_deleted(store: CopiedStore, second: Failing) -> None:
    await second.put(KEY, b"content")
    assert await store.delete(KEY)
    assert not await store.delete(KEY)


# --- the setting ---


async def test_the_archive_gets_the_second_store_and_streams_do_not(tmp_path: Path) -> None:
    settings = load(
        {"data": str(tmp_path / "data"), "archive": {"backup": f"folder://{tmp_path}/backup"}},
        environment={"XDG_CONFIG_HOME": str(tmp_path)},
    ).settings
    async with open_parts(make_parts(settings)) as parts:
        await archive_of(parts).objects.put("archive/x.bson", b"message")
        await parts.objects.put("source/x", b"no message")
        assert await read(parts.objects, "archive/x.bson") == b"message"
    assert (tmp_path / "backup/archive/x.bson").read_bytes() == b"message"
    assert not (tmp_path / "backup/source").exists()


@pytest.mark.parametrize("backup", ["folder:", "folder:relative", "s3://x", "elsewhere"])
def test_a_backup_that_is_none_is_refused_by_its_name(tmp_path: Path, backup: str) -> None:
    with pytest.raises(SettingError, match=r"archive\.backup"):
        make_parts(
            load(
                {"data": str(tmp_path), "objects": "folder:", "archive": {"backup": backup}},
                environment={"XDG_CONFIG_HOME": str(tmp_path)},
            ).settings
        )
