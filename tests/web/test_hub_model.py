"""Any publishing and fetching, against the simplest thing that does the same."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import limits
from tests.web.fetching import Hub, named, wanted
from tests.web.hub_model import Position, Published, Rules
from tests.web.site import opened

CONSUMERS = ("ann", "bob")
QUICK = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EVENTS = st.lists(
    st.builds(Published, st.integers(1, 4), st.sampled_from(CONSUMERS)), min_size=1, max_size=9
)
RULES = st.sampled_from([Rules(), Rules(under=2), Rules(over=3), Rules(not_own=True), Rules(3, 2, True)])
ASKS = st.tuples(st.sampled_from(CONSUMERS), RULES, st.integers(1, 6))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), EVENTS),
        st.tuples(st.sampled_from(["fetch", "lose"]), ASKS),
        st.tuples(st.just("restart"), st.none()),
    ),
    min_size=4,
    max_size=30,
)


@QUICK
@given(steps=STEPS, kind=st.sampled_from(["active", "passive"]), cache_bytes=st.sampled_from([1, 2**20]))
def test_nothing_is_missed_repeated_or_miscounted(
    tmp_path: Path, steps: list[tuple[str, Any]], kind: str, cache_bytes: int
) -> None:
    """One partition, so that there is one order: every answer is told by those before it."""
    folder = tmp_path / uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "HUB_CHUNK_RECORDS", 4)
        asyncio.run(_play(folder, steps, kind, cache_bytes))


async def _play(folder: Path, steps: list[tuple[str, Any]], kind: str, cache_bytes: int) -> None:
    game = Game(kind)
    runs: list[list[tuple[str, Any]]] = [[]]
    for step in steps:
        if step[0] == "restart":
            runs.append([])
        else:
            runs[-1].append(step)
    for run in runs:
        async with opened(folder, hub={"cache_bytes": cache_bytes}) as site:
            hub = Hub(site.client, site.url)
            for what, how in run:
                await (game.publish(hub, how) if what == "publish" else game.ask(hub, what, *how))
            await game.settle(hub)


class Game:
    """A hub and its model, told the same. Consumers fetch as `kind` says."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._log: list[Published] = []
        self._positions = {name: Position(name) for name in CONSUMERS}

    async def publish(self, hub: Hub, events: list[Published]) -> None:
        """Publish events and return when the hub knows of them."""
        first = len(self._log)
        self._log += events
        await hub.post("binary", [each.event(first + number) for number, each in enumerate(events)])
        async with asyncio.timeout(30):
            while True:
                seen = await hub.fetch(name="probe", r_historic=1, reset=1, count=1000)
                if len(seen.events) == len(self._log):
                    return

    async def ask(self, hub: Hub, what: str, consumer: str, rules: Rules, count: int) -> None:
        """Fetch, and say nothing of the receipt if the answer is to be lost."""
        ask: dict[str, Any] = {"name": consumer, "count": count}
        if what == "lose":
            filters = {
                "require_under_content_size": rules.under,
                "require_over_content_size": rules.over,
                "deny_self": rules.not_own,
            }
            answer = await hub.lose(wanted(self._kind, require_historic=True, **ask, **filters))
        else:
            ask |= {"r_under_content_size": rules.under, "r_over_content_size": rules.over}
            answer = await hub.fetch(kind=self._kind, r_historic=1, d_self=rules.not_own, **ask)
        names = [int(name) for name in answer.names]
        position = self._positions[consumer]
        position.check(self._log, rules, count, names, answer.filters)
        if what == "lose":
            position.returned[:0] = names

    async def settle(self, hub: Hub) -> None:
        """Have everything received that came back: a restart repeats what was read behind it."""
        for position in self._positions.values():
            while position.returned:
                await self.ask(hub, "fetch", position.consumer, Rules(), 6)


@QUICK
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=80),
    asks=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["fetch", "lose"]), st.integers(1, 9)), max_size=25
    ),
    expedited=st.integers(0, 5),
)
def test_over_many_partitions_every_event_comes_once_to_every_consumer(
    tmp_path: Path, sizes: list[int], asks: list[tuple[int, str, int]], expedited: int
) -> None:
    """Whatever is lost on the way; all that a consumer does not want is counted once."""
    folder = tmp_path / uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "HUB_CHUNK_RECORDS", 4)
        asyncio.run(_many(folder, sizes, asks, expedited))


async def _many(folder: Path, sizes: list[int], asks: list[tuple[int, str, int]], expedited: int) -> None:
    got = [Counter[str]() for _ in range(3)]
    rejected = [0, 0, 0]
    async with opened(folder, events={"partitions": 3}, hub={"cache_bytes": 1}) as site:
        hub = Hub(site.client, site.url)

        async def ask(number: int, what: str, count: int) -> None:
            """Ask as a consumer that wants sizes up to its number and one; note what it received."""
            who: dict[str, Any] = {"name": f"p{number}", "count": count}
            if what == "lose":
                flows = ("require_historic", "require_live", "require_expedite")
                flow: dict[str, Any] = dict.fromkeys(flows, True)
                answer = await hub.lose(wanted(require_under_content_size=number + 1, **who, **flow))
            else:
                flow = {"r_historic": True, "r_live": True, "r_expedite": True}
                answer = await hub.fetch(r_under_content_size=number + 1, **who, **flow)
                got[number].update(answer.names)
            rejected[number] += answer.info["filtered"]

        for number in range(3):
            await ask(number, "fetch", 1)
        half = len(sizes) // 2
        events = [
            named(n, size=size, source="scan" if n % 2 else "testing") for n, size in enumerate(sizes)
        ]
        for event in events[:expedited]:
            event["flags"] = {"expedite": True}
        await hub.post("binary", events[: half + 1])
        for number, what, count in asks:
            await ask(number, what, count)
        if events[half + 1 :]:
            await hub.post("binary", events[half + 1 :])
        await hub.post("binary", [named("last", size=1)])
        for number in range(3):
            # Live and historic overlap: all but what is expedited comes twice.
            expected = Counter(
                {str(n): 1 if n < expedited else 2 for n, size in enumerate(sizes) if size <= number + 1}
            )
            expected["last"] = 2
            async with asyncio.timeout(30):
                while got[number] != expected and not got[number] - expected:
                    await ask(number, "fetch", 9)
            assert got[number] == expected
            unwanted = sum(1 if n < expedited else 2 for n, size in enumerate(sizes) if size > number + 1)
            async with asyncio.timeout(30):
                while rejected[number] < unwanted:
                    await ask(number, "fetch", 9)
            assert rejected[number] == unwanted
