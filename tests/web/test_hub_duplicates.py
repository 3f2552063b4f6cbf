"""Each event once for each plugin, where a setting says so (dispatcher contract, section 12, step 6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.hub.fetch.duplicates import Slots
from pipeline.log.port import NewRecord
from pipeline.web.server import serve
from tests.events.samples import BINARY, changed
from tests.web.exposed import scrape, series
from tests.web.fetching import PATIENCE_SECONDS, Answer, Hub, fetch, post
from tests.web.site import PREFIX, SOURCED, Site, opened
from tests.web.site import task as a_task

SKIPPED = "FilterDuplicates-skipped"
BOTH: dict[str, Any] = {"r_live": "true", "r_historic": "true", "count": 10}
"""A consumer that meets every new event twice."""


def event(number: int, **flags: bool) -> dict[str, Any]:
    """Make an event about a file of its own."""
    return {**changed(BINARY, "source.path.0.sha256", f"{number:064x}"), "flags": flags}


def numbers(answer: Answer) -> list[int]:
    """Tell which events an answer holds."""
    return [int(each["source"]["path"][0]["sha256"], 16) for each in answer.events]


@asynccontextmanager
async def deduplicating(folder: Path, **hub: Any) -> AsyncIterator[Site]:
    async with opened(folder, hub={"dedupe_bytes": "64KiB", **hub}) as site:
        yield site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a site where each event goes out once for each plugin."""
    async with deduplicating(tmp_path) as made:
        yield made


async def get(site: Site, kind: str = "passive", **query: Any) -> Answer:
    """Fetch what there is as the consumer that meets everything twice, unless `query` says otherwise."""
    return await fetch(site.client, site.url, kind=kind, **{**BOTH, **query})


async def put(site: Site, *events: dict[str, Any]) -> None:
    await post(site.client, site.url, "binary", events)


async def lookups(site: Site) -> float:
    """Return how often it was asked whether an event was received."""
    return (await scrape(site)).values[series("dispatcher_dedupe_lookups_total")]


async def looked_up(site: Site, times: float) -> None:
    """Return when it was asked so often."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await lookups(site) < times:
            pass


@pytest.mark.parametrize("kind", ["active", "passive"])
async def test_an_event_that_is_live_and_historic_goes_out_once(site: Site, kind: str) -> None:
    await get(site, kind)
    await put(site, event(1), event(2))
    answer = await get(site, kind)
    assert sorted(numbers(answer)) == [1, 2]
    assert answer.info["filters"] == {SKIPPED: 2}
    assert numbers(await get(site, kind)) == []


async def test_it_goes_out_twice_unless_a_setting_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        await get(site)
        await put(site, event(1))
        assert numbers(await get(site)) == [1, 1]


async def test_what_was_received_is_not_handed_out_after_a_restart(tmp_path: Path) -> None:
    async with deduplicating(tmp_path) as site:
        await put(site, event(1), event(2))
        assert numbers(await get(site, count=1, r_live="")) == [1]
    async with deduplicating(tmp_path) as site:
        answer = await get(site)  # another flow reads from the start
        assert numbers(answer) == [2]
        assert answer.info["filters"] == {SKIPPED: 1}


async def test_two_processes_never_both_hand_out_an_event(site: Site, tmp_path: Path) -> None:
    await put(site, event(1), event(2))
    assert numbers(await get(site, count=1)) == [1]
    async with serve(site.parts, "127.0.0.1:0") as second:
        answer = await fetch(site.client, second, **{**BOTH, "r_live": ""})
        assert numbers(answer) == [2]


async def test_other_plugins_and_versions_receive_it_too(site: Site) -> None:
    await put(site, event(1))
    for who in (
        {"name": "plug"},
        {"name": "other"},
        {"version": "1.3"},
        {"name": "plug1", "version": ".2"},
    ):
        assert numbers(await get(site, **who)) == [1], who
    assert numbers(await get(site, r_live="")) == []


@pytest.mark.parametrize("flags", [{"bypass_cache": True}, {"expedite": True}])
async def test_a_flagged_event_is_never_held_back(site: Site, flags: dict[str, bool]) -> None:
    everything = {"r_expedite": "true"}
    await get(site, **everything)
    await put(site, event(1, **flags))
    await put(site, event(1, **flags))
    answer = await get(site, **everything)
    assert numbers(answer) == [1] * (2 if "expedite" in flags else 4)
    assert "filters" not in answer.info


async def test_events_of_other_models_are_never_held_back(site: Site) -> None:
    plugin = {**BINARY, "entity": {"name": "plug", "version": "1.2"}}
    await fetch(site.client, site.url, "plugin", **BOTH)
    await post(site.client, site.url, "plugin", [plugin])
    assert len((await fetch(site.client, site.url, "plugin", **BOTH)).events) == 2


async def test_an_event_without_a_key_is_held_back_under_a_name_of_its_own(site: Site) -> None:
    value = b'{"model_version":6,"action":"sourced","source":{"name":"testing","path":[{}]},"entity":{}}'
    await site.parts.log.append([NewRecord(SOURCED, b"k", value)])
    answer = await get(site, r_live="")
    assert answer.events == []
    assert answer.info["filters"] == {"FilterDuplicates-error": 1}


async def lose(site: Site) -> None:
    """Leave a request behind that holds event 1, its client gone, and has met the other copy of it."""
    await get(site)
    await put(site, event(1))
    before = await lookups(site)
    query = "name=plug&version=1.2&r-live=true&r-historic=true&count=10&deadline=60"
    lost = asyncio.create_task(site.client.get(f"{site.url}/api/v2/event/binary/passive?{query}"))
    await looked_up(site, before + 2)  # it waits for more than the copy it holds once it has looked at both
    lost.cancel()
    await asyncio.wait([lost])


async def test_an_answer_that_got_lost_is_never_held_back_as_a_duplicate(tmp_path: Path) -> None:
    async with deduplicating(tmp_path, min_wait_seconds=60) as site:
        await lose(site)
        answers: list[Answer] = []
        async with asyncio.timeout(20):
            while not any(1 in numbers(answer) for answer in answers):
                await put(site, event(len(answers) + 2))  # wakes the request, which finds its client gone
                answers.append(await get(site))
        answers.append(await get(site))
        assert sum(numbers(answer).count(1) for answer in answers) == 1


async def test_an_answer_that_got_lost_when_its_process_ended_is_not_held_back_after_it(
    tmp_path: Path,
) -> None:
    async with deduplicating(tmp_path, min_wait_seconds=60) as site:
        await lose(site)
    async with deduplicating(tmp_path) as site:
        assert numbers(await get(site)) == [1]
        assert numbers(await get(site)) == []


async def test_what_is_on_its_way_to_one_client_never_goes_to_another_as_well(site: Site) -> None:
    """The first client does not read its answer, which is more than the network holds for it."""
    await get(site)
    for number in range(10):
        await put(site, {**event(number), "entity": {**BINARY["entity"], "info": "x" * 1_000_000}})
    await Hub(site.client, site.url).gather(10, **BOTH, name="other")  # so all of them are known
    before = await lookups(site)
    host, _, port = site.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    query = "name=plug&version=1.2&r-live=true&r-historic=true&count=10&deadline=0"
    writer.write(f"GET /api/v2/event/binary/passive?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await looked_up(site, before + 10)
    answer = await get(site)
    assert answer.events == []
    assert answer.info["filters"] == {SKIPPED: 10}
    writer.write_eof()
    assert (await reader.readuntil(b'"fetched":10')).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_task_that_comes_back_is_never_held_back(site: Site) -> None:
    """A task is retried on the log, for its plugin alone, after it was received."""
    await put(site, event(1))
    [task] = (await get(site, "active")).events
    again = msgspec.json.encode({**task, "flags": {"retry": True}, "retries": 1})
    consumer = "plug-1.2-binary-allsrc-alltype-LH"
    in_flight = replace(a_task(1), dequeued=task["dequeued"], state="offered", event=msgspec.Raw(again))
    await site.make_tables()
    await site.put_tasks([in_flight])
    headers = (
        ("headrace-plugin", b"plug"),
        ("headrace-version", b"1.2"),
        ("headrace-consumer", consumer.encode()),
    )
    await site.parts.log.append([NewRecord(f"azul.{PREFIX}.system.error", b"k", again, headers)])
    assert numbers(await get(site, "active")) == [1]


def test_a_table_holds_what_fits_and_forgets_the_older_of_two_in_one_place() -> None:
    slots = Slots(100)  # rounded up: 128 bytes, 16 slots
    assert not any(slots.put(hashed) for hashed in range(1, 17))
    assert all(hashed in slots for hashed in range(1, 17))
    assert not slots.put(1)
    assert slots.put(17)
    assert 1 not in slots
    assert 17 in slots
    assert 2 in slots
