"""Streams kept in memory: answered again without the store, and never when they have changed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.errors import BadInput, NotFound
from pipeline.objects.cached import CachedStore
from pipeline.objects.memory import MemoryDownload, MemoryStore
from pipeline.objects.port import Stat
from tests.stores import bytes_of, pieces

SHA256 = "ab" + "0" * 62
KEY = f"source/content/{SHA256}"
OTHER = f"other/content/{SHA256}"
CACHE_BYTES = 4 * limits.MIB
LARGEST = CACHE_BYTES // limits.CACHE_OBJECT_SHARE


class Counting(MemoryStore):
    """Counts how often it is asked."""

    asked = 0

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> MemoryDownload:
        self.asked += 1
        return await super().get(key, first=first, last=last)

    async def stat(self, key: str) -> Stat | None:
        self.asked += 1
        return await super().stat(key)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@pytest.fixture
def inner(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


@pytest.fixture
async def store(inner: Counting, clock: ManualClock) -> AsyncIterator[CachedStore]:
    opened = CachedStore(inner, cache_bytes=CACHE_BYTES, keep_seconds=900, clock=clock)
    await opened.open()
    yield opened
    await opened.close()


async def read(store: CachedStore, key: str = KEY, **span: int) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key, **span)])


async def test_what_was_read_whole_is_not_asked_for_again(store: CachedStore, inner: Counting) -> None:
    data = bytes_of(LARGEST)
    await store.put(KEY, data, metadata={"name": "x"})
    assert await read(store, last=LARGEST - 1) == data
    inner.asked = 0
    assert await read(store) == data
    assert await read(store, first=5, last=9) == data[5:10]
    stat = await store.stat(KEY)
    assert stat is not None
    assert (stat.key, stat.size_bytes, stat.metadata) == (KEY, LARGEST, {"name": "x"})
    with pytest.raises(BadInput):
        await store.get(KEY, first=LARGEST)
    assert inner.asked == 0


async def test_only_whole_downloads_of_streams_that_are_not_too_large_are_kept(
    store: CachedStore, inner: Counting
) -> None:
    await store.put(KEY, bytes_of(LARGEST + 1))
    await store.put(OTHER, b"0123456789")
    await store.put("archive/x", b"x")
    for _ in range(2):
        for key, span in ((KEY, {}), (OTHER, {"first": 1}), (OTHER, {"last": 8}), ("archive/x", {})):
            inner.asked = 0
            await read(store, key, **span)
            assert inner.asked == 1
        inner.asked = 0
        assert await store.stat(OTHER)
        assert inner.asked == 1


async def test_a_download_nobody_finished_is_not_kept(store: CachedStore, inner: Counting) -> None:
    await store.put(KEY, b"x")
    await store.get(KEY)
    reader = aiter(await store.get(KEY))
    assert await anext(reader) == b"x"
    assert isinstance(reader, AsyncGenerator)
    await reader.aclose()
    del reader
    inner.asked = 0
    assert await read(store) == b"x"
    assert inner.asked == 1
    assert await read(store) == b"x"
    assert inner.asked == 1


async def test_a_stream_never_answers_for_another_source_or_label(store: CachedStore) -> None:
    await store.put(KEY, b"x")
    await read(store)
    for key in (OTHER, f"source/text/{SHA256}"):
        assert await store.stat(key) is None
        with pytest.raises(NotFound):
            await store.get(key)


async def test_what_is_deleted_or_stored_anew_is_never_answered_from_before(store: CachedStore) -> None:
    await store.put(KEY, b"old")
    await read(store)
    await store.put(KEY, b"newer")
    assert await read(store) == b"newer"
    await store.put(OTHER, b"copied")
    await store.copy(OTHER, KEY)
    assert await read(store) == b"copied"
    async with store.draft() as draft:
        await draft.write(b"drafted")
        await draft.commit(KEY)
    assert await read(store) == b"drafted"
    assert await store.delete(KEY) is True
    assert await store.stat(KEY) is None
    with pytest.raises(NotFound):
        await store.get(KEY)


async def test_what_changes_while_it_is_read_is_not_kept(store: CachedStore) -> None:
    await store.put(KEY, pieces(bytes_of(LARGEST)))
    reading = await store.get(KEY)
    await store.delete(KEY)
    assert b"".join([chunk async for chunk in reading]) == bytes_of(LARGEST)
    assert await store.stat(KEY) is None


async def test_how_old_a_stream_is_never_comes_from_memory(
    store: CachedStore, inner: Counting, clock: ManualClock
) -> None:
    """Another process stored it again meanwhile; the old time must not get the new object deleted."""
    await store.put(KEY, b"x")
    await read(store)
    old = await store.stat(KEY)
    assert old is not None
    other = await inner.put(KEY, b"x")
    assert await store.delete(KEY, older_than=other.modified) is False
    assert await read(store) == b"x"


async def test_after_its_time_a_stream_is_asked_for_again(
    store: CachedStore, inner: Counting, clock: ManualClock
) -> None:
    await store.put(KEY, b"x")
    await read(store)
    await inner.delete(KEY)
    clock.advance(899)
    assert await read(store) == b"x"
    clock.advance(2)
    assert await store.stat(KEY) is None


async def test_more_than_fits_makes_room_for_itself(store: CachedStore, inner: Counting) -> None:
    keys = [f"source/content/{number:064x}" for number in range(2 * limits.CACHE_OBJECT_SHARE)]
    data = bytes_of(LARGEST - limits.CACHE_ENTRY_BYTES)
    for key in keys:
        await store.put(key, data)
        await read(store, key)
    inner.asked = 0
    await read(store, keys[-1])
    assert inner.asked == 0
    await read(store, keys[0])
    assert inner.asked == 1


async def test_what_is_read_while_it_is_being_deleted_is_not_kept(
    tmp_path: Path, clock: ManualClock
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        """Takes its time to delete."""

        async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
            begun.set()
            await go_on.wait()
            return await super().delete(key, older_than=older_than)

    store = CachedStore(Slow(tmp_path), cache_bytes=CACHE_BYTES, keep_seconds=900, clock=clock)
    await store.open()
    await store.put(KEY, b"x")
    deleting = asyncio.create_task(store.delete(KEY))
    await begun.wait()
    assert await read(store) == b"x"
    go_on.set()
    assert await deleting is True
    assert await store.stat(KEY) is None
    await store.close()
