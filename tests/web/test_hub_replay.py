"""Tasks whose result is known are not given out (dispatcher contract, section 9 step 2, 12 step 7)."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.clock import ManualClock
from pipeline.log.port import NewRecord
from pipeline.objects.keys import stream_key
from pipeline.web.server import serve
from tests.events.samples import BINARY, NODE, STATUS, changed
from tests.web.exposed import scrape, series
from tests.web.fetching import Answer, fetch, post
from tests.web.site import PREFIX, SOURCED, Site, opened, sha256
from tests.web.site import task as a_task

CACHED = {"ReplayPluginCompletion-cached": 1}
REPLAY = f"azul.{PREFIX}.system.replay"
DATA, TEXT = b"the file", b"what was found in it"
FILE, FOUND = sha256(DATA), sha256(TEXT)
START = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
NOW = "2026-11-01T12:00:00Z"


def binary(source: str = "testing", *, at: str = "2026-01-01T00:00:00Z", **flags: bool) -> dict[str, Any]:
    """Make the event of the one file turning up in a source."""
    path = [{**NODE, "sha256": FILE}]
    content = {"label": "content", "size": len(DATA), "sha256": FILE}
    return {
        **BINARY,
        "source": {"name": source, "timestamp": at, "path": path},
        "entity": {"sha256": FILE, "datastreams": [content]},
        "flags": flags,
    }


def result(task: dict[str, Any], *, action: str = "extracted", hops: int = 1) -> dict[str, Any]:
    """Make what a plugin posts of a file it found in another one, so many levels below it."""
    hop = {"author": STATUS["author"], "action": "extracted", "timestamp": "2026-10-31T00:00:00Z"}
    above = [{**hop, "sha256": f"{number:064x}"} for number in range(1, hops)]
    path = [*task["source"]["path"], *above, {**hop, "action": action, "sha256": FOUND}]
    stream = {"label": "content", "size": len(TEXT), "sha256": FOUND}
    return {
        **BINARY,
        "author": STATUS["author"],
        "action": action,
        "source": {**task["source"], "path": path},
        "entity": {"sha256": FOUND, "datastreams": [stream] if action == "extracted" else []},
    }


def status(task: dict[str, Any], *results: dict[str, Any], **entity: Any) -> dict[str, Any]:
    """Make what a plugin posts about a task; it took 20 seconds."""
    done = {"input": task, "status": "completed", "runtime": 20.0, "results": results, **entity}
    return {**STATUS, "entity": done}


@asynccontextmanager
async def replaying(folder: Path, clock: ManualClock | None = None, **hub: Any) -> AsyncIterator[Site]:
    settings = {"replay_bytes": "1MiB", **hub}
    async with opened(folder, clock or ManualClock(START), hub=settings) as site:
        yield site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a site where completed tasks are remembered."""
    async with replaying(tmp_path) as made:
        yield made


async def task_of(site: Site, kind: str = "active", **query: Any) -> Answer:
    """Ask for one event as the plugin, which reads sourced ones."""
    asked = {"r_historic": "true", "r_expedite": "true", "r_action": "sourced", **query}
    return await fetch(site.client, site.url, kind=kind, **asked)


async def complete(site: Site, *, hops: int = 1, **entity: Any) -> dict[str, Any]:
    """Publish the file, take it as a task, and complete that with two results; return the task."""
    await post(site.client, site.url, "binary", [binary()])
    [task] = (await task_of(site)).events
    await site.parts.objects.put(stream_key("testing", "content", FOUND), TEXT)
    results = (result(task, hops=hops), result(task, action="enriched"))
    await post(site.client, site.url, "status", [status(task, *results, **entity)])
    return dict(task)


async def stored(site: Site, topic: str) -> list[Any]:
    return [json.loads(record.value or b"") for record in await site.records(f"azul.{PREFIX}.{topic}")]


async def test_a_known_result_is_published_instead_of_giving_the_task_out(site: Site) -> None:
    before = await scrape(site)
    task = await complete(site)
    await post(site.client, site.url, "binary", [binary("scan")])
    answer = await task_of(site)
    assert answer.events == []
    assert answer.info["filters"] == CACHED
    [extracted], [enriched] = [await stored(site, f"scan.binary.{a}") for a in ("extracted", "enriched")]
    [original] = await stored(site, "testing.binary.extracted")
    assert extracted["source"] == {
        **binary("scan")["source"],
        "path": [task["source"]["path"][0], {**original["source"]["path"][1], "timestamp": NOW}],
    }
    assert extracted["timestamp"] == enriched["timestamp"] == NOW
    for name in ("author", "entity", "action", "model_version"):
        assert extracted[name] == original[name], name
    assert extracted["flags"] == {}
    assert extracted["kafka_key"] not in {original["kafka_key"], enriched["kafka_key"], "tmp"}
    download = await site.parts.objects.get(stream_key("scan", "content", FOUND))
    assert b"".join([chunk async for chunk in download]) == TEXT
    assert len(await stored(site, "system.status")) == 1, "no status is written"
    since = (await scrape(site)).since(before)
    counts = (series(f"dispatcher_replay_cache_hit_{what}", name="plug") for what in ("count", "seconds"))
    assert [since[count] for count in counts] == [1, 20]


async def test_every_hop_a_plugin_added_is_in_the_result(site: Site) -> None:
    await complete(site, hops=2)
    await post(site.client, site.url, "binary", [binary("scan")])
    assert (await task_of(site)).info["filters"] == CACHED
    [extracted] = await stored(site, "scan.binary.extracted")
    assert [node["sha256"] for node in extracted["source"]["path"]] == [FILE, f"{1:064x}", FOUND]


async def test_nothing_is_remembered_unless_a_setting_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        await complete(site)
        await post(site.client, site.url, "binary", [binary("scan")])
        assert len((await task_of(site)).events) == 1
        assert await site.records(REPLAY) == []


async def test_a_result_is_known_after_a_restart_and_in_another_process(tmp_path: Path) -> None:
    async with replaying(tmp_path) as site:
        await complete(site)
    async with replaying(tmp_path) as site, serve(site.parts, "127.0.0.1:0") as second:
        await post(site.client, site.url, "binary", [binary("scan")])
        answer = await fetch(site.client, second, kind="active", r_historic="true", r_source="scan")
        assert answer.info["filters"]["ReplayPluginCompletion-cached"] == 1
        assert (await task_of(site)).info["filters"] == CACHED


@pytest.mark.parametrize(
    "entity",
    [
        {"runtime": 10.0},
        {"status": "error-exception"},
        {"status": "opt-out"},
        {"status": "heartbeat"},
    ],
)
async def test_only_what_succeeded_and_took_long_is_remembered(site: Site, entity: dict[str, Any]) -> None:
    await complete(site, **entity)
    await post(site.client, site.url, "binary", [binary("scan")])
    assert len((await task_of(site)).events) == 1


@pytest.mark.parametrize("success", ["completed-empty", "completed-with-errors"])
async def test_a_success_without_results_is_known_as_well(site: Site, success: str) -> None:
    await complete(site, status=success, results=[])
    await post(site.client, site.url, "binary", [binary("scan")])
    answer = await task_of(site)
    assert answer.events == []
    assert answer.info["filters"] == CACHED


async def test_another_file_plugin_or_version_is_given_out(site: Site) -> None:
    task = await complete(site)
    await post(site.client, site.url, "binary", [binary("scan")])
    for who in ({"name": "other"}, {"version": "1.3"}):
        assert len((await task_of(site, count=9, **who)).events) == 2, who
    other = changed(binary("scan"), "entity.sha256", FOUND)
    await post(site.client, site.url, "binary", [changed(other, "source.path.0.sha256", FOUND)])
    answer = await task_of(site, count=9)
    assert [event["entity"]["sha256"] for event in answer.events] == [FOUND]
    assert task["entity"]["sha256"] == FILE


async def test_who_takes_no_tasks_is_given_the_event(site: Site) -> None:
    await complete(site)
    await post(site.client, site.url, "binary", [binary("scan")])
    answer = await task_of(site, kind="passive", count=9)
    assert len(answer.events) == 1


async def test_an_event_that_bypasses_the_cache_is_given_out(site: Site) -> None:
    await complete(site)
    await post(site.client, site.url, "binary", [binary("scan", bypass_cache=True)])
    assert len((await task_of(site)).events) == 1


async def test_the_results_of_an_expedited_event_are_expedited(site: Site) -> None:
    await complete(site)
    await post(site.client, site.url, "binary", [binary("scan", expedite=True)])
    assert (await task_of(site)).info["filters"] == CACHED
    extracted = [event for event in await stored(site, "system.expedite") if event["action"] == "extracted"]
    assert [event["flags"] for event in extracted] == [{"expedite": True}]
    assert await stored(site, "scan.binary.extracted") == []


async def test_a_result_is_known_for_so_long_and_no_longer(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with replaying(tmp_path, clock) as site:
        await complete(site)
        clock.advance(1799)
        await post(site.client, site.url, "binary", [binary("scan")])
        assert (await task_of(site)).info["filters"] == CACHED
        clock.advance(1)
        await post(site.client, site.url, "binary", [binary("scan", at="2026-01-01T00:00:01Z")])
        assert len((await task_of(site)).events) == 1
    async with replaying(tmp_path, clock) as site:
        await post(site.client, site.url, "binary", [binary("scan", at="2026-01-01T00:00:02Z")])
        assert len((await task_of(site)).events) == 1


async def test_a_status_above_its_part_of_the_memory_is_not_remembered(tmp_path: Path) -> None:
    async with replaying(tmp_path, replay_bytes="64KiB") as site:
        await complete(site, message="x" * 1024)
        assert await site.records(REPLAY) == []
        await post(site.client, site.url, "binary", [binary("scan")])
        assert len((await task_of(site)).events) == 1


async def test_the_oldest_goes_when_there_is_no_more_room(tmp_path: Path) -> None:
    files = [f"{number:064x}" for number in range(100)]
    async with replaying(tmp_path, replay_bytes="256KiB") as site:
        await post(site.client, site.url, "binary", [binary()])
        [task] = (await task_of(site)).events
        for file in files:
            done = status({**task, "entity": {"sha256": file}}, message="x" * 2000)
            await post(site.client, site.url, "status", [done])
        events = [
            changed(binary("scan", at=f"2026-02-01T00:00:{n}Z"), "entity.sha256", files[at])
            for n, at in ((10, 0), (11, 99))
        ]
        await post(site.client, site.url, "binary", events)
        answer = await task_of(site, count=9)
        assert [event["entity"]["sha256"] for event in answer.events] == [files[0]]
        assert answer.info["filters"] == CACHED


async def test_the_plugin_is_given_the_event_when_the_bytes_of_its_result_are_gone(
    site: Site, logged: list[Any]
) -> None:
    await complete(site)
    await site.parts.objects.delete(stream_key("testing", "content", FOUND))
    await post(site.client, site.url, "binary", [binary("scan")])
    assert len((await task_of(site)).events) == 1
    assert await stored(site, "scan.binary.extracted") == []
    assert "a known result is made anew" in {entry["event"] for entry in logged}


async def test_bytes_that_are_there_already_need_not_be_anywhere_else(site: Site) -> None:
    await complete(site)
    await site.parts.objects.copy(
        stream_key("testing", "content", FOUND), stream_key("scan", "content", FOUND)
    )
    await site.parts.objects.delete(stream_key("testing", "content", FOUND))
    await post(site.client, site.url, "binary", [binary("scan")])
    assert (await task_of(site)).info["filters"] == CACHED


async def test_a_result_that_breaks_a_rule_below_its_event_is_made_anew(
    site: Site, logged: list[Any]
) -> None:
    """Nothing may follow an enriched hop."""
    await complete(site)
    path = [{**NODE, "sha256": FILE, "action": "enriched"}]
    event = {**changed(binary("scan"), "source.path", path), "action": "enriched"}
    event["entity"] = {"sha256": FILE}
    await post(site.client, site.url, "binary", [event])
    answer = await task_of(site, r_action="enriched", r_source="scan")
    assert len(answer.events) == 1
    assert "a known result is made anew" in {entry["event"] for entry in logged}


async def test_an_event_that_cannot_be_read_is_held_back_under_a_name_of_its_own(site: Site) -> None:
    await complete(site)
    broken = json.dumps({**binary("testing"), "kafka_key": "k", "retries": "many"}).encode()
    await site.parts.log.append([NewRecord(SOURCED, b"k", broken)])
    answer = await task_of(site)
    assert answer.events == []
    assert answer.info["filters"] == {"ReplayPluginCompletion-error_replay_plugin_completion": 1}


async def test_a_task_that_comes_back_is_never_replayed(site: Site) -> None:
    """Nobody would end it: no status is written."""
    task = await complete(site)
    again = msgspec.json.encode({**task, "flags": {"retry": True}, "retries": 1})
    in_flight = replace(a_task(1), dequeued=task["dequeued"], state="offered", event=msgspec.Raw(again))
    await site.make_tables()
    await site.put_tasks([in_flight])
    headers = (("headrace-plugin", b"plug"), ("headrace-version", b"1.2"), ("headrace-consumer", b""))
    await site.parts.log.append([NewRecord(f"azul.{PREFIX}.system.error", b"k", again, headers)])
    answer = await task_of(site)
    assert [event["retries"] for event in answer.events] == [1]


async def test_a_task_whose_answer_got_lost_is_never_replayed(site: Site) -> None:
    """It is tracked already: it would lapse, and be given out later instead of now."""
    for number in range(10):
        event = binary("scan", at=f"2026-01-01T00:00:0{number}Z")
        event["entity"]["info"] = "x" * 1_000_000  # together more than the network holds for a client
        await post(site.client, site.url, "binary", [event])
    host, _, port = site.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    path = "/api/v2/event/binary/active?name=plug&version=1.2&r-historic=true&r-action=sourced&count=10"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        while len(await site.records(f"azul.{PREFIX}.system.task")) < 10:
            await site.json("/healthz")
        await post(site.client, site.url, "status", [status({**binary(), "dequeued": "of.a.feed.1"})])
        writer.transport.abort()
        plugin: dict[str, Any] = {"r_historic": "true", "r_action": "sourced", "count": 10}
        while not (answer := await fetch(site.client, site.url, kind="active", **plugin)).events:
            pass
    assert len(answer.events) == 10
    assert "filters" not in answer.info


async def test_what_was_replayed_counts_as_received(tmp_path: Path) -> None:
    async with replaying(tmp_path, dedupe_bytes="64KiB") as site:
        await complete(site)
        await task_of(site, r_live="true")
        await post(site.client, site.url, "binary", [binary("scan")])
        for reason in (CACHED, {"FilterDuplicates-skipped": 1}):  # live, then historic
            answer = await task_of(site, r_live="true")
            assert answer.events == []
            assert answer.info["filters"] == reason
        assert len(await stored(site, "scan.binary.extracted")) == 1
