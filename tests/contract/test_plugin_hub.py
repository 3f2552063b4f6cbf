"""The hub as plugins see it: one suite over the one in memory and the one over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from headrace.hub import Hub, StreamName
from headrace.memory import MemoryHub
from headrace.remote import connect
from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.errors import BadInput, NotFound
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import decode_stored
from pipeline.events.parts import Author
from pipeline.events.status import StatusEntity, StatusEvent
from tests.kit.between import in_front_of
from tests.kit.plugins import count, plugin_of
from tests.web.site import Site, opened

PLUGIN = plugin_of(count)


class Place(NamedTuple):
    """A hub, a way to give it an event to hand out, and its statuses."""

    hub: Hub
    hand_out: Callable[[BinaryEvent], Awaitable[None]]
    statuses: Callable[[], Awaitable[list[StatusEvent]]]


@pytest.fixture(params=["memory", "HTTP"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Give each implementation."""
    if request.param == "memory":
        memory = MemoryHub(SystemClock())

        async def kept() -> list[StatusEvent]:
            return memory.statuses

        async def put(event: BinaryEvent) -> None:
            memory.put(event)

        yield Place(memory, put, kept)
        return
    async with (
        opened(tmp_path / "site") as site,
        in_front_of(site.url) as between,
        connect(between.url, "tested") as remote,
    ):
        yield Place(remote, between.hand_out, lambda: _statuses(site))


async def _statuses(site: Site) -> list[StatusEvent]:
    records = await site.records(f"azul.{site.prefix}.system.status")
    decoded = [decode_stored("status", record.value) for record in records]
    return [event for event in decoded if event is not None]


async def _sourced() -> BinaryEvent:
    return await MemoryHub(SystemClock()).submit(b"some bytes", filename="a.txt")


def _name(data: bytes, label: str = "content") -> StreamName:
    return StreamName("testing", label, hashlib.sha256(data).hexdigest())


async def _upload(place: Place, folder: Path, data: bytes, label: str = "content") -> StreamName:
    path = folder / "up"
    path.write_bytes(data)
    name = _name(data, label)
    described = await place.hub.upload(name, path)
    assert (described.label, described.sha256, described.size) == (label, name.sha256, len(data))
    assert described.mime, "an upload is answered with everything that is known about it"
    return name


@pytest.mark.parametrize("size", [1, limits.PLUGIN_RANGE_BYTES, 2 * limits.PLUGIN_RANGE_BYTES + 1])
async def test_bytes_come_back_as_they_were_uploaded(place: Place, tmp_path: Path, size: int) -> None:
    data = b"x" * size
    name = await _upload(place, tmp_path, data, "text")
    into = tmp_path / "down"
    into.write_bytes(b"what was here before" * 9)
    await place.hub.read(name, into, len(data))
    assert into.read_bytes() == data


async def test_a_stream_that_is_not_there_is_not_found(place: Place, tmp_path: Path) -> None:
    await _upload(place, tmp_path, b"there")
    for name in (_name(b"not there"), _name(b"there", "text")):
        with pytest.raises(NotFound):
            await place.hub.read(name, tmp_path / "down", 0)


async def test_an_event_is_handed_out_as_a_task(place: Place) -> None:
    event = await _sourced()
    await place.hand_out(event)
    fetched = await place.hub.fetch(PLUGIN.subscription)
    assert (fetched.filtered, fetched.ready, fetched.paused) == (0, True, False)
    [task] = fetched.events
    assert task.dequeued.startswith(f"{event.kafka_key}.tested.1.0.")
    assert replace(task, dequeued="") == event


async def test_a_plugin_and_a_status_are_published(place: Place) -> None:
    now = SystemClock().now()
    await place.hub.publish(PLUGIN.registration(now))
    task = replace(await _sourced(), dequeued="a.tested.1.0.1")
    ended = StatusEntity(input=task, status="completed-empty", runtime=0.5)
    await place.hub.publish(StatusEvent.authored(PLUGIN.author, ended, now))
    [status] = await place.statuses()
    assert (status.entity.status, status.entity.input.dequeued) == ("completed-empty", task.dequeued)
    assert len(status.kafka_key) == 32


async def test_what_breaks_a_rule_is_refused(place: Place) -> None:
    now = SystemClock().now()
    task = await _sourced()
    ended = StatusEntity(input=task, status="completed")
    nothing_dequeued = StatusEvent.authored(PLUGIN.author, ended, now)
    ended = replace(ended, input=replace(task, dequeued="a.tested.1.0.1"))
    bad_result = replace(ended, results=(replace(task, action="eaten"),))
    nobody = StatusEvent.authored(Author(), ended, now)
    for event in (nothing_dequeued, nobody, StatusEvent.authored(PLUGIN.author, bad_result, now)):
        with pytest.raises(BadInput):
            await place.hub.publish(event)
    assert await place.statuses() == []
