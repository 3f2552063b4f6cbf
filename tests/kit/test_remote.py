"""A plugin over HTTP: what it asks, what becomes of its results in an installation, what it survives."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import stamina
from aiohttp import web
from structlog.testing import capture_logs

from headrace import Job, Plugin, beside
from headrace.hub import Fetched, StreamName
from headrace.memory import MemoryHub
from headrace.remote import RemoteHub, connect
from headrace.runner import Runner
from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.errors import BadInput, Damaged, NotFound, Unavailable
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import decode_stored
from pipeline.events.models import Event
from tests.kit.between import Between
from tests.kit.plugins import count, everything, plugin_of
from tests.processes import until
from tests.web.site import Site, sha256

BOUNDARY = "0123456789abcdef" * 3 + "0123456789ab"

TEXT = b"one\nthree\nfive\n"
SMALL = StreamName("testing", "content", sha256(TEXT))


async def sourced(hub: RemoteHub, folder: Path, data: bytes = TEXT) -> BinaryEvent:
    """Upload bytes as a client does and return the event it would publish."""
    path = folder / "sourced"
    path.write_bytes(data)
    await hub.upload(StreamName("testing", "content", sha256(data)), path)
    return await MemoryHub(SystemClock()).submit(data, filename="a.txt")


@pytest.fixture
def without_pauses() -> Iterator[None]:
    """Let calls be repeated at once."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def warnings(logged: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """Return what was logged as unexpected."""
    return [entry["event"] for entry in logged if entry["log_level"] == "warning"]


@asynccontextmanager
async def running(plugin: Plugin, between: Between) -> AsyncIterator[RemoteHub]:
    """Run a plugin against the installation until the block is left."""
    stop = asyncio.Event()
    async with connect(between.url, str(plugin)) as hub:
        task = asyncio.create_task(Runner(plugin, hub).run(stop))
        yield hub
        stop.set()
        await task


async def events(site: Site, topic: str, model: str) -> list[Event]:
    """Return the events of a topic."""
    records = await site.records(f"azul.{site.prefix}.{topic}")
    return [event for record in records if (event := decode_stored(model, record.value)) is not None]


async def distinct(site: Site, topic: str) -> list[Event]:
    """Return the events of a topic, each once."""
    return list({event.kafka_key: event for event in await events(site, topic, "binary")}.values())


async def test_what_a_plugin_finds_is_published_with_its_bytes_and_ends_the_task(
    site: Site, between: Between, tmp_path: Path
) -> None:
    async with running(plugin_of(everything, description="Says all"), between) as hub:
        await between.hand_out(await sourced(hub, tmp_path))

        async def ended() -> bool:
            return bool(await events(site, "system.status", "status"))

        await until(ended)
    # A plugin that asks for what there is and what comes may be handed an event twice (contract, trap 7).
    status = (await events(site, "system.status", "status"))[0]
    [registered] = await events(site, "system.plugin", "plugin")
    assert status.entity.status == "completed"  # type: ignore[union-attr]
    assert status.entity.runtime > 0  # type: ignore[union-attr]
    assert registered.entity.description == "Says all"  # type: ignore[union-attr]
    assert [one.name for one in registered.entity.features] == ["lines", "first", "ratio"]  # type: ignore[union-attr]
    found = [
        event
        for action in ("enriched", "augmented", "extracted")
        for event in await distinct(site, f"testing.binary.{action}")
    ]
    assert len(found) == 1 + 1 + 3
    stored = {key.rpartition("/")[2] for key in await site.stored_keys()}
    for event in found:
        assert isinstance(event, BinaryEvent)
        assert event.source.path[0].sha256 == sha256(TEXT)
        assert event.entity.sha256 in stored
        for stream in event.entity.datastreams:
            assert stream.sha256 in stored, "no event names bytes that are not there"
            assert stream.mime == "text/plain"
    assert [stream.label for stream in found[1].entity.datastreams] == ["content", "text"]  # type: ignore[union-attr]


async def test_the_fetch_says_what_the_plugin_wants_as_other_runners_say_it(between: Between) -> None:
    plugin = plugin_of(
        count,
        actions=["sourced", "augmented"],
        formats=["text/", "code/"],
        streams=["content", "text"],
        sources=["testing", "scan"],
        max_security="HIGH",
    )
    async with running(plugin, between):
        await until(lambda: len(between.asked) == 1)
    asked = between.asked[0]
    assert {name: asked.getall(name) for name in asked} == {
        "name": ["tested"],
        "version": ["1.0"],
        "count": ["1"],
        "deadline": ["10"],
        "r-expedite": ["true"],
        "r-live": ["true"],
        "r-historic": ["true"],
        "d-self": ["true"],
        "r-under-content-size": ["209715200"],
        "r-action": ["sourced", "augmented"],
        "r-streams": ["content,text/,code/", "text"],
        "r-source": ["testing", "scan"],
        "max-security": ["HIGH"],
    }


async def test_what_a_plugin_does_not_ask_for_is_left_out(between: Between) -> None:
    plugin = plugin_of(count, actions=["enriched"], streams=(), own_results=True, historic=False)
    async with running(plugin, between):
        await until(lambda: len(between.asked) == 1)
    left_out = {"r-historic", "d-self", "r-under-content-size", "r-streams", "r-source", "max-security"}
    assert not left_out & set(between.asked[0])


@pytest.mark.parametrize("status", [500, 503])
async def test_calls_that_fail_in_passing_are_made_again(
    site: Site, between: Between, tmp_path: Path, status: int, without_pauses: None
) -> None:
    failed: set[tuple[str, str, str]] = set()

    def once(request: web.Request) -> int | None:
        """Fail the first request of each kind."""
        kind = (request.method, request.path, request.query.get("model", ""))
        if kind in failed:
            return None
        failed.add(kind)
        return status

    async with connect(between.url, "tested") as hub:
        event = await sourced(hub, tmp_path)
    between.fault = once
    with capture_logs() as logged:
        async with running(plugin_of(everything), between):
            await between.hand_out(event)

            async def ended() -> bool:
                return bool(await events(site, "testing.binary.extracted", "binary"))

            await until(ended)
    assert set(warnings(logged)) == {"waiting for the hub"}, "the loop waits; calls of the job are repeated"
    assert len(failed) == 6, "fetch, read, two places of uploads, registration and status"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"", "nothing"),
        (b"<html>", "no parts"),
        (f"--{BOUNDARY}\r\n\r\n".encode(), "half a part"),
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="info"\r\n\r\n{{}}\r\n'.encode(),
            "one part",
        ),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_hub_that_is_away(answer: bytes, what: str) -> None:
    async def say(_: web.Request) -> web.Response:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return web.Response(body=answer, headers=headers)

    async with served(say) as url, connect(url, "tested") as hub:
        with pytest.raises(Unavailable, match="fetch"):
            await hub.fetch(plugin_of(count).subscription)


async def test_an_answer_without_a_boundary_is_a_hub_that_is_away() -> None:
    async def say(_: web.Request) -> web.Response:
        return web.json_response({"info": {}, "events": []})

    async with served(say) as url, connect(url, "tested") as hub:
        with pytest.raises(Unavailable):
            await hub.fetch(plugin_of(count).subscription)


async def test_nothing_listening_is_a_hub_that_is_away() -> None:
    async with served(None) as url:
        pass
    async with connect(url, "tested") as hub:
        with pytest.raises(Unavailable, match="see whether it is up"):
            await hub.fetch(plugin_of(count).subscription)


async def test_a_hub_that_pauses_plugins_says_so(between: Between) -> None:
    async with connect(between.url, "tested") as hub:
        await between.hand_out(await MemoryHub(SystemClock()).submit(TEXT), pause_plugins="true")
        fetched = await hub.fetch(plugin_of(count).subscription)
    assert fetched == Fetched((), filtered=0, ready=False, paused=True)


@asynccontextmanager
async def served(answer: object) -> AsyncIterator[str]:
    """Serve one handler for every request."""
    application = web.Application()
    if answer is not None:
        application.router.add_route("*", "/{path:.*}", answer)  # type: ignore[arg-type]
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_server_that_ignores_ranges_is_understood(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    assert len(data) > limits.PLUGIN_RANGE_BYTES

    async def whole(_: web.Request) -> web.StreamResponse:
        path = tmp_path / "whole"
        path.write_bytes(data)
        return web.Response(body=path.open("rb"))

    into = tmp_path / "into"
    async with served(whole) as url, connect(url, "tested") as hub:
        await hub.read(StreamName("s", "content", hashlib.sha256(data).hexdigest()), into, len(data))
    assert into.read_bytes() == data


async def test_bytes_with_another_hash_are_not_given_to_a_plugin(tmp_path: Path) -> None:
    async def other(_: web.Request) -> web.Response:
        return web.Response(status=206, body=b"abc", headers={"Content-Range": "bytes 0-2/3"})

    async with served(other) as url, connect(url, "tested") as hub:
        with pytest.raises(Damaged):
            await hub.read(SMALL, tmp_path / "into", 3)


@pytest.mark.parametrize("said", ["", "bytes 5-7/10", "lines 0-2/3", "bytes 0-2/*"])
async def test_a_range_that_was_not_asked_for_is_not_taken(
    tmp_path: Path, said: str, without_pauses: None
) -> None:
    async def other(_: web.Request) -> web.Response:
        return web.Response(status=206, body=b"abc", headers={"Content-Range": said})

    async with served(other) as url, connect(url, "tested") as hub:
        with pytest.raises(Unavailable, match="asked for bytes from 0"):
            await hub.read(SMALL, tmp_path / "into", 3)


async def test_a_range_without_bytes_does_not_go_on_for_ever(tmp_path: Path, without_pauses: None) -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.Response(status=206, headers={"Content-Range": "bytes 0-2/3"})

    async with served(empty) as url, connect(url, "tested") as hub:
        with pytest.raises(Unavailable, match="without bytes"):
            await hub.read(SMALL, tmp_path / "into", 3)


async def test_an_empty_stream_is_an_empty_file(tmp_path: Path) -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.Response(status=416, text="no", headers={"Content-Range": "bytes */0"})

    name = StreamName("s", "content", hashlib.sha256(b"").hexdigest())
    async with served(empty) as url, connect(url, "tested") as hub:
        await hub.read(name, tmp_path / "into", 0)
    assert (tmp_path / "into").read_bytes() == b""


async def test_bytes_that_changed_on_the_way_are_not_stored(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(b"changed meanwhile")
    async with connect(site.url, "tested") as hub:
        with pytest.raises(BadInput, match="sha256 mismatch"):
            await hub.upload(SMALL, path)
    assert await site.stored_keys() == []


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"title": "Empty Request"}, BadInput),
        (404, {}, NotFound),
        (422, {"title": "bad", "detail": "too old"}, BadInput),
        (425, {"error_enum": "ErrorStringEnumAllEventsFiltered", "title": "filtered"}, BadInput),
        (425, {"error_enum": "ErrorStringEnumAllEventsAgedOffImmediately"}, None),
        (200, {"total_ok": 0, "total_failures": 1, "failures": [{"event": "", "error": "no"}]}, BadInput),
        (200, {"total_ok": 1, "total_failures": 0, "failures": None}, None),
        (503, {}, Unavailable),
    ],
)
async def test_each_answer_to_a_publish_means_something(
    status: int, body: dict[str, object], error: type[Exception] | None
) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    async with served(say) as url, connect(url, "tested") as hub:
        event = plugin_of(count).registration(SystemClock().now())
        if error is None:
            await hub.publish(event, attempts=1)
        else:
            with pytest.raises(error):
                await hub.publish(event, attempts=1)


async def test_plugins_inside_a_service_run_until_it_stops_and_one_that_fails_starts_again(
    site: Site, between: Between, tmp_path: Path
) -> None:
    refusals = 0

    def refuse_twice(request: web.Request) -> int | None:
        nonlocal refusals
        if "active" in request.path and refusals < 2:
            refusals += 1
            return 422
        return None

    async with connect(between.url, "tested") as hub:
        event = await sourced(hub, tmp_path)
    between.fault = refuse_twice

    async def ended() -> bool:
        return bool(await events(site, "system.status", "status"))

    with capture_logs() as logged:
        async with beside.running([plugin_of(count)], between.url, SystemClock()):
            await between.hand_out(event)
            await until(ended)
    assert warnings(logged) == ["plugin starts again"] * 2


async def test_a_service_that_stops_lets_its_plugins_finish_the_job_at_hand(
    site: Site, between: Between, tmp_path: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        begun.set()
        await go_on.wait()
        count(job)

    async with connect(between.url, "tested") as hub:
        await between.hand_out(await sourced(hub, tmp_path))
    async with beside.running([plugin_of(slow)], between.url, SystemClock()):
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    [status] = await events(site, "system.status", "status")
    assert status.entity.status == "completed"  # type: ignore[union-attr]
    assert len(between.asked) == 1
