"""Several api processes that hand out together, over one real Kafka (dispatcher contract, section 11)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from pipeline import limits
from pipeline.app import Parts, make_parts, open_parts
from pipeline.log.port import TopicPartition
from pipeline.settings import load
from pipeline.web.server import serve
from tests.processes import Process, ended_at_last, environment, until, write_settings
from tests.services.lab import SESSION_SECONDS, remove_topics
from tests.services.test_api import listening
from tests.web.fetching import Answer, Hub

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 2
PLUGINS = [f"plugin{number}" for number in range(10)]
"""So many that every process serves some of them, of either kind."""
PATIENCE_SECONDS = 90.0
LIVE: dict[str, Any] = {"r_live": "true"}
HISTORIC: dict[str, Any] = {"r_historic": "true"}


class Shared(NamedTuple):
    """What the processes of a test have in common."""

    kafka: str
    prefix: str
    folder: Path
    client: aiohttp.ClientSession

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of one process, which has a folder of its own."""
        return {
            "data": str(self.folder / name),
            "log": f"kafka://{self.kafka}",
            "events": {"prefix": self.prefix, "partitions": PARTITIONS},
            "kafka": {"session_seconds": SESSION_SECONDS},
            "hub": {"cache_bytes": 1},
        }

    @asynccontextmanager
    async def api(self, name: str) -> AsyncIterator[tuple[Hub, Parts]]:
        """Serve in this process."""
        loaded = load(self.settings(name), environment={"XDG_CONFIG_HOME": str(self.folder)})
        async with open_parts(make_parts(loaded.settings)) as parts, serve(parts, "127.0.0.1:0") as url:
            yield Hub(self.client, url), parts

    def start(self, name: str) -> Process:
        """Serve in a process of its own."""
        config = write_settings(self.folder / f"{name}.toml", self.settings(name))
        return Process(
            ["--config", str(config), "api", "--listen", "127.0.0.1:0"],
            log=self.folder / f"{name}.log",
            environment=environment(self.folder),
        )


@pytest.fixture
async def shared(kafka_address: str, unique: str, tmp_path: Path) -> AsyncIterator[Shared]:
    """Give the common part, and remove its topics at last."""
    async with aiohttp.ClientSession() as client:
        made = Shared(kafka_address, unique, tmp_path, client)
        yield made
        async with made.api("wipe") as (_, parts):
            topics = [name for name in await parts.log.topics() if unique in name]
        await remove_topics(kafka_address, topics)


async def ready(hub: Hub, plugin: str, **query: Any) -> None:
    """Register a consumer; return when somebody serves it."""

    async def served() -> bool:
        return (await hub.fetch(name=plugin, deadline=5, **query)).info["ready"] is True

    await until(served, PATIENCE_SECONDS)


async def everything(hub: Hub, plugin: str, count: int, **query: Any) -> list[str]:
    """Fetch until so many different events came; return all that came."""
    names: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(set(names)) < count:
            names += (await hub.fetch(name=plugin, count=50, deadline=2, **query)).names
    return names


def kind_of(plugin: str) -> str:
    """Say how a consumer fetches."""
    return "active" if PLUGINS.index(plugin) % 2 else "passive"


async def test_a_plugin_that_knows_one_process_receives_everything_once(shared: Shared) -> None:
    async with shared.api("a") as (first, _), shared.api("b") as (second, _):
        await asyncio.gather(*(ready(first, plugin, kind=kind_of(plugin), **LIVE) for plugin in PLUGINS))
        for start in range(0, 200, 100):
            await second.publish(*range(start, start + 100))
        got = await asyncio.gather(
            *(everything(first, plugin, 200, kind=kind_of(plugin), **LIVE) for plugin in PLUGINS)
        )
    for names in got:
        assert sorted(names, key=int) == [str(number) for number in range(200)]


async def test_a_plugin_that_asks_both_processes_at_once_receives_everything_once(shared: Shared) -> None:
    async with shared.api("a") as (first, _), shared.api("b") as (second, _):
        await asyncio.gather(*(ready(first, plugin, **HISTORIC) for plugin in PLUGINS))
        got: dict[str, list[str]] = {plugin: [] for plugin in PLUGINS}

        async def poll(hub: Hub, plugin: str) -> None:
            while len(got[plugin]) < 200:
                answer = await hub.fetch(name=plugin, count=7, deadline=1, **HISTORIC)
                got[plugin].extend(answer.names)

        async with asyncio.timeout(PATIENCE_SECONDS):
            polls = [poll(hub, plugin) for hub in (first, second) for plugin in PLUGINS]
            await asyncio.gather(second.publish(*range(200)), *polls)
    for names in got.values():
        assert sorted(names, key=int) == [str(number) for number in range(200)]


async def test_positions_are_those_of_consumer_groups_with_the_names_of_the_contract(
    shared: Shared,
) -> None:
    topic = f"azul.{shared.prefix}.testing.binary.sourced"
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with shared.api("a") as (hub, parts):
        await hub.publish(*range(20))
        await ready(hub, "plug", r_live=1, r_historic=1, r_action="sourced", kind="active", count=1)
        query: dict[str, Any] = {
            "name": "plug",
            "kind": "active",
            "r_live": 1,
            "r_historic": 1,
            "r_action": "sourced",
        }
        group = f"{shared.prefix}-azul-plug-1.2-binary-allsrc-sourced-LH"

        async def committed(lane: str) -> int:
            positions = await parts.log.committed(f"{group}-{lane}", places)
            return sum(positions.values()) if len(positions) == PARTITIONS else -1

        assert await committed("live") == 20, "it begins at the end, which is noted at once"
        assert 0 <= await committed("historic") <= 20
        while (await hub.fetch(**query, count=6, deadline=1)).events:
            pass

        async def all_noted() -> bool:
            return await committed("historic") == 20

        await until(all_noted, PATIENCE_SECONDS)


class Watched(NamedTuple):
    """The answers one consumer had."""

    plugin: str
    answers: list[Answer]

    @property
    def asked(self) -> dict[str, Any]:
        """What it asks for, but for numbers."""
        return {"kind": kind_of(self.plugin), **LIVE}

    @property
    def names(self) -> list[str]:
        """All events that came."""
        return [name for answer in self.answers for name in answer.names]


async def test_a_process_that_is_killed_takes_nothing_with_it(shared: Shared) -> None:
    total = 300
    async with shared.api("a") as (hub, _):
        with ended_at_last(shared.start("b")) as other:
            await listening(other, shared.folder / "b")
            watched = [Watched(plugin, []) for plugin in PLUGINS]
            await asyncio.gather(*(ready(hub, each.plugin, **each.asked) for each in watched))
            await hub.publish(*range(total // 2))
            before: dict[str, int] = {}

            async def poll(each: Watched) -> None:
                while len(set(each.names)) < total:
                    answer = await hub.fetch(name=each.plugin, count=10, deadline=2, **each.asked)
                    each.answers.append(answer)

            async def kill() -> None:
                await until(lambda: all(len(each.answers) >= 3 for each in watched), PATIENCE_SECONDS)
                other.kill()
                before.update({each.plugin: len(each.answers) for each in watched})
                await hub.publish(*range(total // 2, total))

            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(kill(), *(poll(each) for each in watched))
    for each in watched:
        assert set(each.names) == {str(number) for number in range(total)}, "nothing is lost"
        repeated = {name for name, count in Counter(each.names).items() if count > 1}
        # What was answered just before is not noted yet: one answer before the end, one on its way.
        last = before[each.plugin]
        near = [name for answer in each.answers[max(last - 1, 0) : last + 1] for name in answer.names]
        assert repeated <= set(near), each.plugin


async def test_a_process_that_stops_in_order_hands_over_without_a_repeat(shared: Shared) -> None:
    total = 200
    got: dict[str, list[str]] = {plugin: [] for plugin in PLUGINS}
    async with shared.api("a") as (hub, _):

        async def poll(plugin: str) -> None:
            while len(got[plugin]) < total:
                answer = await hub.fetch(name=plugin, count=5, deadline=2, **HISTORIC)
                got[plugin].extend(answer.names)

        async with asyncio.timeout(PATIENCE_SECONDS):
            async with shared.api("b"):
                await asyncio.gather(*(ready(hub, plugin, **HISTORIC) for plugin in PLUGINS))
                await hub.publish(*range(total))
                polls = [asyncio.create_task(poll(plugin)) for plugin in PLUGINS]
                await until(lambda: all(names for names in got.values()), PATIENCE_SECONDS)
            await asyncio.gather(*polls)
    for names in got.values():
        assert sorted(names, key=int) == [str(number) for number in range(total)]


async def test_a_topic_that_is_removed_stops_nobody(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HUB_TOPICS_SECONDS", 0.2)
    removed = f"azul.{shared.prefix}.scan.binary.mapped"
    async with shared.api("a") as (hub, parts):
        await hub.publish(*range(9), action="mapped", source="scan")
        await hub.publish("before")
        await ready(hub, "plug", **LIVE)
        await ready(hub, "behind", **HISTORIC, r_action="mapped")
        assert (await hub.gather(1, name="evicts", **HISTORIC, r_action="sourced")).names == ["before"]
        await remove_topics(shared.kafka, [removed])

        async def is_removed() -> bool:
            return removed not in await parts.log.topics()

        await until(is_removed, PATIENCE_SECONDS)
        # What else is followed from now on makes the process look at all of it anew.
        await ready(hub, "status", model="status", **LIVE)
        await hub.publish("after")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await hub.gather(1, name="plug", **LIVE)).names == ["after"]

        async def lets_go() -> bool:
            """Tell whether the one that read there goes on without; it may have been told to try again.

            A broker that makes topics by itself has made an empty one meanwhile.
            """
            try:
                return not (await hub.fetch(name="behind", **HISTORIC, r_action="mapped")).events
            except AssertionError:
                return False

        await until(lets_go, PATIENCE_SECONDS)
