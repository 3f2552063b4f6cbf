"""Age-off of streams by source, in stores that have no rules for it (dispatcher contract, section 18)."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.age_off import aging, kept_days, sweep
from pipeline.app import Parts, make_parts, open_parts
from pipeline.clock import Clock, ManualClock
from pipeline.errors import SettingError
from pipeline.objects.folder import FolderStore
from pipeline.objects.tree import Tree
from pipeline.settings import load
from tests.agents.installation import until
from tests.stores import AES_KEY

SHA256 = "ab" + "0" * 62
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
SOURCES = {"short": {"expire_events_after": "2 days"}, "kept": {}}
DAY = dt.timedelta(days=1)


def parts_of(folder: Path, clock: Clock | None = None, **sections: Any) -> Parts:
    values = {"data": str(folder), "events": {"sources": SOURCES}, **sections}
    return make_parts(load(values, environment={"XDG_CONFIG_HOME": str(folder)}).settings, clock)


@asynccontextmanager
async def opened(folder: Path, clock: Clock, **streams: str) -> AsyncIterator[Parts]:
    async with open_parts(parts_of(folder, clock, streams={"age_off": "on", **streams})) as parts:
        yield parts


def store_at(folder: Path, key: str, time: dt.datetime) -> None:
    """Make an object look as if it had been stored then."""
    path = Tree(folder / "objects").path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 30)
    os.utime(path, (time.timestamp(), time.timestamp()))


async def keys(parts: Parts) -> set[str]:
    return {stat.key async for stat in parts.objects.list()}


def stream(source: str, number: int = 0, ending: str = "") -> str:
    return f"{source}/content/{number:064x}{ending}"


async def test_streams_go_a_day_after_the_expiry_of_their_source_and_nothing_else_does(
    tmp_path: Path,
) -> None:
    old, young = NOW - 3.001 * DAY, NOW - 2.999 * DAY
    stays = {
        stream("short", 1): young,
        stream("kept"): old - 999 * DAY,
        stream("unknown"): old - 999 * DAY,
        f"short/{SHA256}": old,
        f"short/a/b/{SHA256}": old,
        "short/content/name": old,
        f"archive/content/{SHA256}": old,
        "parked/x": old,
    }
    goes = {stream("short", 2, ending): old for ending in ("", ".xor", ".aesc1", ".aesc1.xor")}
    for key, time in {**stays, **goes}.items():
        store_at(tmp_path, key, time)
    async with opened(tmp_path, ManualClock(NOW)) as parts:
        assert set(stays) | set(goes) == await keys(parts)
        assert await sweep(parts.objects, kept_days(parts), NOW) == len(goes)
        assert await keys(parts) == set(stays)


async def test_encoded_streams_age_too(tmp_path: Path) -> None:
    for key in (stream("short", 1, ".aesc1"), stream("short", 2), stream("short", 3, ".aesc1.xor")):
        store_at(tmp_path, key, NOW - 4 * DAY)
    store_at(tmp_path, stream("short", 4, ".aesc1"), NOW)
    async with opened(tmp_path, ManualClock(NOW), aes="enabled", aes_key=AES_KEY.decode()) as parts:
        await sweep(parts.objects, kept_days(parts), NOW)
        assert await keys(parts) == {stream("short", 4)}


async def test_what_is_too_old_goes_at_the_start_and_then_every_day(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    store_at(tmp_path, stream("short", 1), NOW - 4 * DAY)
    store_at(tmp_path, stream("short", 2), NOW - 2.5 * DAY)
    async with opened(tmp_path, clock) as parts, aging(parts):

        async def first_gone() -> bool:
            return await keys(parts) == {stream("short", 2)}

        async def all_gone() -> bool:
            clock.advance(3600)
            return await keys(parts) == set()

        await until(first_gone)
        await until(all_gone)
        assert clock.now() - NOW >= DAY


async def test_nothing_goes_unless_it_is_asked_for(tmp_path: Path) -> None:
    store_at(tmp_path, stream("short"), NOW - 999 * DAY)
    for mode in ("off", "cleanup"):
        clock = ManualClock(NOW)
        async with opened(tmp_path, clock, age_off=mode) as parts, aging(parts):
            for _ in range(20):
                clock.advance(24 * 3600)
                assert await keys(parts) == {stream("short")}


async def test_a_stream_that_was_stored_anew_while_it_was_found_too_old_stays(tmp_path: Path) -> None:
    class Storing(FolderStore):
        """Stores each object again between its listing and its deletion."""

        async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
            await self.put(key, b"anew")
            return await super().delete(key, older_than=older_than)

    store_at(tmp_path, stream("short"), NOW - 4 * DAY)
    store = Storing(tmp_path / "objects")
    await store.open()
    try:
        assert await sweep(store, {"short": 3}, NOW) == 0
        assert await store.stat(stream("short"))
    finally:
        await store.close()


@pytest.mark.parametrize("name", ["parked", "archive"])
async def test_a_source_that_shares_its_place_with_other_objects_may_not_expire(
    tmp_path: Path, name: str
) -> None:
    settings: dict[str, Any] = {"sources": {name: SOURCES["short"]}}
    async with open_parts(parts_of(tmp_path, events=settings, streams={"age_off": "on"})) as parts:
        with pytest.raises(SettingError, match=f"{name}/"):
            async with aging(parts):
                pytest.fail("it began")
    assert kept_days(parts_of(tmp_path, events={"sources": {name: {}}}))[name] is None


async def test_days_are_one_more_than_the_whole_days_of_the_expiry(tmp_path: Path) -> None:
    texts = {"a": "2 days", "b": "1 weeks", "c": "1 months", "d": "0"}
    sources = {name: {"expire_events_after": text} for name, text in texts.items()}
    days = kept_days(parts_of(tmp_path, events={"sources": sources}))
    assert {name: days[name] for name in texts} == {"a": 3, "b": 8, "c": 31, "d": None}
