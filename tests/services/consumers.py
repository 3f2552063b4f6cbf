"""Clients of the hub that go on whatever happens to it, as plugin runners do, and note what they received.

An answer counts as received when all its bytes arrived. Contract: dispatcher sections 8, 10, 13, 26.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import aiohttp

from tests.services.wishes import DEADLINE_SECONDS, Wish, event_of
from tests.web import fetching
from tests.web.fetching import BOUNDARY, parts_of

PAUSE_SECONDS = 0.2
"""Between two tries when nobody answers."""
PATIENCE_SECONDS = 10.0
"""How much longer than its deadline a client waits for an answer; the known runner waits five."""
POST_EVENTS = 1000
BROKEN = (aiohttp.ClientError, OSError)  # a time-out is an OSError

Where = Callable[[], str | None]
"""Says which api to ask next, None when none can be reached."""


def in_turn(*places: Where) -> Where:
    """Ask one after the other."""
    turn = cycle(places)

    def where() -> str | None:
        return next(turn)()

    return where


@dataclass(frozen=True)
class Received:
    """An answer that arrived whole. Times are of `time.monotonic`."""

    asked: float
    arrived: float
    numbers: tuple[int, ...]


@dataclass
class Consumer:
    """One consumer. It asks `home`, and `elsewhere` when that does not answer."""

    wish: Wish
    client: aiohttp.ClientSession
    home: Where
    elsewhere: Where
    answers: list[Received] = field(default_factory=list)
    """Those with events."""
    received: Counter[int] = field(default_factory=Counter)
    idle_since: float = -1.0
    """When it asked for its latest answer without events."""
    troubles: Counter[str] = field(default_factory=Counter)
    held: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The latest try of each task, where that is remembered."""
    latest_seconds: float = 0.0
    """How much later than its deadline an answer came, at most."""

    async def register(self) -> None:
        """Return when the hub knows it, so that nothing that is published later is missed."""
        while not await self._ask(deadline="0"):  # noqa: ASYNC110 - the hub is another process
            await asyncio.sleep(PAUSE_SECONDS)

    async def run(self) -> None:
        """Fetch, and finish the tasks, for ever."""
        while True:
            if not await self._ask():
                await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, **changes: str) -> bool:
        """Fetch once; say whether that was answered by a hub that is ready."""
        asked = time.monotonic()
        kind = "active" if self.wish.active else "passive"
        where = self.elsewhere if self.troubles["missed"] else self.home
        status, found = await self._get(where(), kind, {**self.wish.query(), **changes})
        if status != 200:
            self.troubles[str(status)] += 1
            self.troubles["missed"] ^= 1
            return False
        self.troubles["missed"] = 0
        self.latest_seconds = max(self.latest_seconds, time.monotonic() - asked - DEADLINE_SECONDS)
        events = found["events"]["events"]
        numbers = tuple(int(event["source"]["references"]["number"]) for event in events)
        if numbers:
            self.answers.append(Received(asked, time.monotonic(), numbers))
            self.received.update(numbers)
            if self.wish.active:
                await self.work(events)
        elif found["info"]["ready"]:
            self.idle_since = asked
        return bool(found["info"]["ready"])

    async def _get(self, url: str | None, kind: str, query: Any) -> tuple[int | str, dict[str, Any]]:
        if url is None:
            return "nowhere", {}
        pairs = [(name, one) for name, value in query.items() for one in _listed(value)]
        path = f"{url}/api/v2/event/binary/{kind}"
        patience = aiohttp.ClientTimeout(total=DEADLINE_SECONDS + PATIENCE_SECONDS)
        try:
            async with self.client.get(path, params=pairs, timeout=patience) as response:
                body = await response.read()
        except BROKEN as error:
            return type(error).__name__, {}
        if response.status != 200:
            assert response.status >= 500, body
            return response.status, {}
        boundary = BOUNDARY.fullmatch(response.headers["Content-Type"])
        assert boundary
        return 200, {name: json.loads(part) for name, part in parts_of(body, boundary[1]).items()}

    async def work(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Say that tasks are done."""
        statuses = [status_of(self.wish.name, task) for task in tasks]
        await post(self.client, self.elsewhere, "status", statuses)


class Vanishing(Consumer):
    """It takes tasks and is never heard of."""

    async def work(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""


class Late(Consumer):
    """It answers a try when the next one has come."""

    async def work(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Say that the tries before are done."""
        before = [self.held[task["kafka_key"]] for task in tasks if task["kafka_key"] in self.held]
        self.held.update((task["kafka_key"], task) for task in tasks)
        if before:
            await super().work(before)


class Twice(Consumer):
    """It answers everything two times."""

    async def work(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Say it, and say it again."""
        await super().work(tasks)
        await super().work(tasks)


def status_of(plugin: str, task: Mapping[str, Any], status: str = "completed") -> dict[str, Any]:
    """Make the status a plugin of that name posts about a task."""
    author = {"name": plugin, "version": "1.0", "category": "plugin"}
    return {**fetching.status_of(task, status), "author": author}


async def post(client: aiohttp.ClientSession, where: Where, model: str, events: Sequence[Any]) -> int:
    """Publish events, again and again until an api says they are durable; return how often that failed."""
    body = json.dumps(events).encode()
    failed = 0
    while True:
        url = where()
        try:
            if url is not None:
                async with client.post(
                    f"{url}/api/v2/event", params={"model": model}, data=body
                ) as response:
                    answer = await response.read()
                if response.status == 200:
                    assert json.loads(answer)["total_failures"] == 0, answer
                    return failed
                assert response.status >= 500, answer
        except BROKEN:
            pass
        failed += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def publish(
    client: aiohttp.ClientSession,
    where: Where,
    numbers: range,
    *,
    at_once: int = POST_EVENTS,
    pause_seconds: float = 0,
) -> int:
    """Publish the events with these numbers; return how many posts had to be repeated."""
    failed = 0
    for first in range(0, len(numbers), at_once):
        events = [event_of(number) for number in numbers[first : first + at_once]]
        failed += await post(client, where, "binary", events) > 0
        await asyncio.sleep(pause_seconds)
    return failed


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]
