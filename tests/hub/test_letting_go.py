"""Consumers that move to another process while a request of theirs comes in: one process serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.app import Parts, make_parts, open_parts
from pipeline.clock import SystemClock
from pipeline.events.records import completed, record_of
from pipeline.hub.deleted import Deleted
from pipeline.hub.fetch.feeds import Feeds
from pipeline.hub.fetch.handout import Fetched, HandOut
from pipeline.hub.notices import Notices
from pipeline.hub.wanted import Wanted
from tests.agents.installation import settings_in
from tests.events.samples import BINARY, changed
from tests.events.test_keys import one

WANTED = Wanted(name="plug", version="1", model="binary", require_historic=True, count=10)


class Door:
    """A log one of whose calls waits while the door is shut."""

    def __init__(self, log: Any, call: str) -> None:
        self._log = log
        self._call = call
        self.opened = asyncio.Event()
        self.opened.set()
        self.waiting = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._log, name)
        return self._behind(found) if name == self._call else found

    def _behind(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def waits(*arguments: Any) -> Any:
            if not self.opened.is_set():
                self.waiting.set()
                await self.opened.wait()
            return await call(*arguments)

        return waits


class Process:
    """What one process hands out, and what it needs for that."""

    def __init__(self, parts: Parts, log: Any) -> None:
        prefix, clock = parts.settings.events.prefix, SystemClock()
        self._notices, self._deleted = Notices(log, prefix, clock), Deleted(log, prefix, clock)
        self.hands = HandOut(
            log,
            prefix=prefix,
            feeds=Feeds(log, sources=parts.sources, clock=clock, cache_bytes=1 << 20),
            notices=self._notices,
            deleted=self._deleted,
            clock=clock,
            can_read=lambda *_: True,
            gates=(),
            min_wait_seconds=0,
        )

    async def fetch(self, wanted: Wanted = WANTED) -> Fetched:
        """Fetch; the answer arrives."""
        async with self.hands.fetch(wanted, lambda: False) as fetched:
            return fetched

    async def close(self) -> None:
        """End it."""
        await self.hands.close()
        await self._deleted.close()
        await self._notices.close()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Give opened parts, without agents, and three events."""
    async with open_parts(make_parts(settings_in(tmp_path, ["track"]))) as opened:
        prefix = opened.settings.events.prefix
        events = [
            completed(one("binary", changed(BINARY, "source.path.0.sha256", f"{n}"))) for n in range(3)
        ]
        await opened.log.append([record_of(prefix, event) for event in events])
        yield opened


@pytest.mark.parametrize(
    ("call", "known"),
    [("committed", False), ("append", True)],
    ids=["while its place is read", "while it is registered"],
)
async def test_who_lets_go_while_a_request_comes_in_hands_nothing_out_any_more(
    parts: Parts, call: str, *, known: bool
) -> None:
    door = Door(parts.log, call)
    leaving, following = Process(parts, door), Process(parts, parts.log)
    try:
        if known:
            assert len((await leaving.fetch(msgspec.structs.replace(WANTED, count=1))).events) == 1
        door.opened.clear()
        narrowed = msgspec.structs.replace(WANTED, deny_events=("mapped",))
        fetching = asyncio.create_task(leaving.fetch(narrowed))
        await door.waiting.wait()
        letting_go = asyncio.create_task(leaving.hands.let_go())
        await asyncio.wait([letting_go], timeout=0.1)
        assert not letting_go.done(), "others would begin while it still may commit"
        door.opened.set()
        fetched = await fetching
        assert (fetched.events, fetched.moved, fetched.ready) == ([], True, False)
        await letting_go
        assert len((await following.fetch()).events) == 3 - known
        await following.hands.let_go()
        assert (await leaving.fetch()).events == [], "it begins where it was then, not where it is"
    finally:
        await following.close()
        await leaving.close()
