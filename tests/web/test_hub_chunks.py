"""Events are read in chunks, kept as long as there is room: no border, gap or lack of room may be seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits
from pipeline.log.port import NewRecord, Reader, TopicPartition
from tests.web.fetching import Hub, named
from tests.web.site import SOURCED, Site, opened

HISTORIC: dict[str, Any] = {"r_historic": "true"}
LIVE: dict[str, Any] = {"r_live": "true"}
CHUNK = limits.HUB_CHUNK_RECORDS
# Segments of few records, so that all but the newest are compacted.
SMALL_SEGMENTS = {"testing": {"kafka": {"config": {"segment.bytes": "2000"}}}}


def small(folder: Path, cache_bytes: int = 2**20, **events: Any) -> AbstractAsyncContextManager[Site]:
    return opened(folder, hub={"cache_bytes": cache_bytes}, events=events)


async def append(site: Site, numbers: Iterable[int], *, key: str = "", **changes: Any) -> None:
    """Put events on the topic, told by their numbers; those of one key replace each other."""
    events = {number: {**named(number), "kafka_key": key or f"{number}", **changes} for number in numbers}
    await site.parts.log.append(
        [
            NewRecord(SOURCED, (key or f"{number}").encode(), json.dumps(event).encode())
            for number, event in events.items()
        ]
    )


async def read_all(hub: Hub, **query: Any) -> list[int]:
    """Fetch until nothing comes any more."""
    names: list[str] = []
    async with asyncio.timeout(60):
        while True:
            answer = await hub.fetch(**{**HISTORIC, "count": 1000, **query})
            if not answer.names:
                return [int(name) for name in names]
            names += answer.names


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 1000])
async def test_no_event_is_missed_or_repeated_where_chunks_meet(tmp_path: Path, count: int) -> None:
    total = 2 * CHUNK + 1
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await append(site, range(total - 3))
        if count > 1:
            assert await read_all(hub, count=count) == list(range(total - 3))
        await hub.fetch(**LIVE)
        await append(site, range(total - 3, total))
        first = await hub.gather(3, **LIVE, count=count)
        assert first.names == [str(number) for number in range(total - 3, total)]
        await append(site, range(total, total + CHUNK))
        got = await hub.gather(CHUNK, **LIVE, count=max(count, 100))
        assert [int(name) for name in got.names] == list(range(total, total + CHUNK))
        assert await read_all(hub, name="late", count=max(count, 100)) == list(range(total + CHUNK))


@pytest.mark.parametrize("first", [1, CHUNK - 1, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("last", [CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1])
async def test_gaps_that_compaction_left_are_passed(tmp_path: Path, first: int, last: int) -> None:
    total = 2 * CHUNK + 20
    async with small(tmp_path, sources=SMALL_SEGMENTS) as site:
        await append(site, range(first))
        await append(site, range(first, last), key="same")
        await append(site, range(last, total))
        await site.parts.log.tidy()  # type: ignore[attr-defined]
    async with small(tmp_path, sources=SMALL_SEGMENTS) as site:
        hub = Hub(site.client, site.url)
        left = [
            int(json.loads(r.value or b"")["source"]["references"]["name"]) for r in await site.sourced()
        ]
        assert len(left) < total - (last - first) // 2 or last - first < 20, "there is a gap"
        assert await read_all(hub) == left
        assert await read_all(hub, name="small steps", count=100) == left
        await append(site, [total])
        assert (await hub.gather(1, **HISTORIC)).names == [str(total)]


async def test_a_gap_at_the_end_is_no_reason_to_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await append(site, range(3))
        await site.parts.log.append([NewRecord(SOURCED, b"t", None) for _ in range(CHUNK)])
        async with asyncio.timeout(20):
            assert await read_all(hub) == [0, 1, 2]


async def test_consumers_far_apart_read_on_where_there_is_no_room_for_both(tmp_path: Path) -> None:
    async with small(tmp_path, 1) as site:
        hub = Hub(site.client, site.url)
        await append(site, range(4 * CHUNK))
        got: dict[str, list[str]] = {f"p{number}": [] for number in range(4)}
        for position, (name, names) in enumerate(got.items()):
            names.extend((await hub.gather(position * CHUNK + 7, **HISTORIC, name=name)).names)
        async with asyncio.timeout(60):
            while min(map(len, got.values())) < 4 * CHUNK:
                answers = await asyncio.gather(
                    *(hub.fetch(**HISTORIC, name=name, count=300) for name in got)
                )
                for names, answer in zip(got.values(), answers, strict=True):
                    names.extend(answer.names)
        for names in got.values():
            assert names == [str(number) for number in range(4 * CHUNK)]


async def test_large_events_of_many_topics_are_read_where_there_is_no_room_for_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is full by its bytes ends before the next border, and more of them lie before it."""
    monkeypatch.setattr(limits, "HUB_CHUNK_BYTES", 3000)
    async with small(tmp_path, 1, partitions=6) as site:
        hub = Hub(site.client, site.url)
        await hub.publish(*range(150))
        first = await hub.gather(100, **HISTORIC, count=1)
        names = first.names
        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                *(hub.fetch(**HISTORIC, name=f"p{n}", count=150) for n in range(4))
            )
            while len(names) < 150:
                names += (await hub.fetch(**HISTORIC, count=10)).names
        assert sorted(names, key=int) == [str(number) for number in range(150)]
        for number, answer in enumerate(answers):
            got = answer.names
            if len(got) < 150:
                got += (await hub.gather(150 - len(got), **HISTORIC, name=f"p{number}")).names
            assert sorted(got, key=int) == [str(number) for number in range(150)]


async def test_what_was_read_for_one_consumer_is_not_read_again_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as site:
        hub = Hub(site.client, site.url)
        await append(site, range(3 * CHUNK))
        assert len(await read_all(hub)) == 3 * CHUNK

        def no_reader(positions: object) -> None:
            raise AssertionError("it is read again")

        monkeypatch.setattr(site.parts.log, "reader", no_reader)
        assert len(await read_all(hub, name="next")) == 3 * CHUNK


async def test_no_reader_is_left_open_where_the_same_is_read_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Reader] = []
    async with small(tmp_path, 1) as site:
        hub = Hub(site.client, site.url)
        await append(site, range(3 * CHUNK))
        make = site.parts.log.reader

        def reader(positions: Mapping[TopicPartition, int]) -> Reader:
            readers.append(make(positions))
            return readers[-1]

        monkeypatch.setattr(site.parts.log, "reader", reader)
        for number in range(5):
            assert len(await read_all(hub, name=f"p{number}")) == 3 * CHUNK
    assert readers
    assert all(not each.positions() for each in readers), "an open one has a position"
