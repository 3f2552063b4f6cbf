"""Run this plugin over this file, list the events: what a plugin's own tests see."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from headrace import Job, Plugin, testing
from headrace.memory import MemoryHub
from headrace.runner import Runner
from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.events import validity
from pipeline.events.codec import encode_as_posted
from pipeline.events.records import completed
from tests.kit.plugins import count, everything, plugin_of

TEXT = b"one\nthree\nfive\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_plugin_over_bytes_gives_its_features() -> None:
    outcome = testing.run(plugin_of(count), TEXT)
    assert (outcome.status, outcome.error, outcome.features) == ("completed", "", {"lines": ["3"]})
    [event] = outcome.events
    assert event.action == "enriched"


async def test_an_async_function_does_the_same() -> None:
    async def counting(job: Job) -> None:
        await asyncio.sleep(0)
        count(job)

    outcome = await testing.outcome_of(plugin_of(counting), TEXT)
    assert outcome.features == {"lines": ["3"]}


def test_everything_a_job_says_becomes_valid_events_with_right_paths() -> None:
    outcome = testing.run(plugin_of(everything), TEXT, filename="a.txt", references={"ticket": "4711"})
    assert outcome.status == "completed"
    assert outcome.info == {"longest": 5}
    assert outcome.streams == {"text": [TEXT.upper()]}
    assert outcome.children == (b"one", b"three", b"five")
    actions = [event.action for event in outcome.events]
    assert actions == ["enriched", "augmented", "extracted", "extracted", "extracted"]
    for event in outcome.events:
        assert validity.fault(event) is None
        assert event.source.references == {"ticket": "4711"}
        first, last = event.source.path
        assert (first.action, first.sha256, first.filename) == ("sourced", sha256(TEXT), "a.txt")
        assert (last.action, last.author, last.timestamp) == (event.action, event.author, event.timestamp)
        assert last.sha256 == event.entity.sha256
        assert event.author.name == "tested"
        assert event.track_links, "the events are complete"
    enriched, augmented, _, child, _ = outcome.events
    task = outcome.statuses[-1].entity.input
    assert task.dequeued.startswith(f"{task.kafka_key}.tested.1.0.")
    assert not task.entity.datastreams, "a status carries the task without its streams"
    assert enriched.entity.file_format == "text/plain"
    assert not enriched.entity.datastreams
    assert [one.label for one in augmented.entity.datastreams] == ["content", "text"]
    assert augmented.entity.datastreams[0].sha256 == sha256(TEXT)
    assert augmented.entity.datastreams[1].sha256 == sha256(TEXT.upper())
    node = child.source.path[-1]
    assert (node.relationship, node.filename, node.size) == ({"line": "1"}, "1.txt", len(b"three"))
    assert child.entity.sha256 == sha256(b"three") == child.entity.datastreams[0].sha256
    assert child.entity.datastreams[0].language == node.language == "en"
    assert (child.entity.size, child.entity.mime) == (5, "text/plain")
    assert [(one.name, one.value) for one in child.entity.features] == [("lines", "1")]


def test_a_file_that_is_not_wanted_is_not_handed_out_and_the_outcome_says_why() -> None:
    images = plugin_of(count, formats=("image/",))
    assert testing.run(images, TEXT).refused == "reject_file_format"
    assert testing.run(images, TEXT).status == ""
    assert testing.run(plugin_of(count, content_max_bytes=3), TEXT).refused == "reject_content_too_large"
    assert testing.run(plugin_of(count, actions=["extracted"]), TEXT).refused == "reject_event_type"
    assert testing.run(plugin_of(count, sources=["other"]), TEXT).refused == "reject_source"
    assert testing.run(plugin_of(count, formats=("image/", "text/")), TEXT).status == "completed"


def test_a_derived_stream_can_be_what_a_plugin_reads() -> None:
    def read(job: Job) -> None:
        job.feature("first", job.content("text").decode())

    reader = plugin_of(read, actions=["augmented"], streams=["content", "text"])
    assert testing.run(reader, TEXT, streams={"text": b"derived"}).features == {"first": ["derived"]}
    assert testing.run(reader, TEXT, streams={"pcap": b"derived"}).refused == "reject_stream"
    assert testing.run(reader, TEXT).refused == "reject_event_type"


def _raise(error: Callable[[], BaseException]) -> Callable[[Job], None]:
    def function(job: Job) -> None:
        job.feature("lines", 1)
        raise error()

    return function


@pytest.mark.parametrize(
    ("function", "status", "error"),
    [
        (_raise(lambda: ValueError("no such thing")), "error-exception", "ValueError: no such thing"),
        (_raise(StopIteration), "error-exception", "StopIteration: "),
        (_raise(lambda: SystemExit(3)), "error-exception", "SystemExit: 3"),
        (_raise(MemoryError), "error-out-of-memory", "MemoryError: "),
        (_raise(TimeoutError), "error-exception", "TimeoutError: "),
        (lambda job: job.feature("undeclared", 1), "error-exception", "keep feature 'undeclared'"),
        (
            lambda job: job.feature("lines", "three"),
            "error-exception",
            "keep feature 'lines': 'three' is no",
        ),
        (lambda job: job.feature("first", "\udc80"), "error-exception", "keep feature 'first'"),
        (lambda job: job.info({"set": object()}), "error-exception", "keep info"),
        (lambda job: job.child(b""), "error-exception", "keep bytes found in"),
        (lambda job: job.stream("nothing", b"x"), "error-exception", "keep stream 'nothing'"),
        (lambda job: job.content("text"), "error-exception", "give stream 'text'"),
        (
            lambda job: job.info({"long": "x" * limits.EVENT_MAX_BYTES}),
            "error-output",
            "encode a binary event",
        ),
    ],
)
def test_what_goes_wrong_in_a_function_is_its_status_and_nothing_of_it_is_published(
    function: Callable[[Job], Any], status: str, error: str
) -> None:
    outcome = testing.run(plugin_of(function), TEXT)
    assert outcome.status == status
    assert outcome.error.startswith(error)
    assert "Traceback" in outcome.message
    assert outcome.events == ()


def test_a_function_can_have_nothing_to_say_or_opt_out_or_fail_in_part() -> None:
    def opt_out(job: Job) -> None:
        job.feature("lines", 1)
        job.opt_out("not for me")

    def partly(job: Job) -> None:
        job.feature("lines", 1)
        job.problem("the second half is torn")

    assert testing.run(plugin_of(lambda _: None), TEXT).status == "completed-empty"
    outcome = testing.run(plugin_of(opt_out), TEXT)
    assert (outcome.status, outcome.message, outcome.events) == ("opt-out", "not for me", ())
    outcome = testing.run(plugin_of(partly), TEXT)
    assert (outcome.status, outcome.error) == ("completed-with-errors", "the second half is torn")
    assert outcome.features == {"lines": ["1"]}


def test_the_same_thing_found_twice_is_one_feature() -> None:
    def twice(job: Job) -> None:
        for value in (1, 2, 1):
            job.feature("lines", value)

    assert testing.run(plugin_of(twice), TEXT).features == {"lines": ["1", "2"]}


def test_a_large_file_is_on_disk_and_gone_afterwards(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(3 * limits.PLUGIN_RANGE_BYTES)
    seen: list[Path] = []

    def look(job: Job) -> None:
        seen.extend((job.path(), job.folder))
        with job.open() as stream:
            assert stream.read(2) == b"\0\0"
        part = job.folder / "part"
        part.write_bytes(b"cut out")
        job.child(part)
        job.feature("first", job.filename)

    outcome = testing.run(plugin_of(look), large)
    assert (outcome.status, outcome.features) == ("completed", {"first": ["large.bin"]})
    assert outcome.children == (b"cut out",)
    assert not any(path.exists() for path in seen)
    assert large.exists()


@pytest.mark.parametrize("own_results", [False, True])
async def test_a_plugin_is_handed_what_it_found_itself_only_when_it_asks_for_it(own_results: bool) -> None:
    plugin = plugin_of(everything, own_results=own_results)
    hub = MemoryHub(SystemClock())
    await hub.submit(TEXT)
    await Runner(plugin, hub).run(asyncio.Event(), once=True)
    hub.put(hub.events[-1])
    await Runner(plugin, hub).run(asyncio.Event(), once=True)
    assert len(hub.final) == 1 + own_results
    assert hub.refused == ([] if own_results else ["reject_self"])


async def _final(plugin: Plugin, hub: MemoryHub) -> tuple[str, str]:
    await Runner(plugin, hub).run(asyncio.Event(), once=True)
    return hub.final[-1].entity.status, hub.final[-1].entity.message


async def test_a_file_ten_deep_is_opted_out_of_unread() -> None:
    hub = MemoryHub(SystemClock())
    event = await hub.submit(TEXT)
    path = event.source.path * limits.PLUGIN_DEPTH_MAX
    hub.put(replace(event, source=replace(event.source, path=path)))
    status, message = await _final(plugin_of(_raise(AssertionError)), hub)
    assert (status, message) == ("opt-out", "it lies 10 files deep")


async def test_a_stream_that_is_gone_is_an_error_of_the_input() -> None:
    hub = MemoryHub(SystemClock())
    event = await hub.submit(TEXT)
    await hub.fetch(plugin_of(count).subscription)
    gone = replace(event.entity.datastreams[0], sha256="0" * 64)
    hub.put(replace(event, entity=replace(event.entity, datastreams=(gone,))))
    status, message = await _final(plugin_of(count), hub)
    assert status == "error-input"
    assert "0" * 64 in message


async def test_a_plugin_without_streams_works_on_enriched_events_and_its_path_stays_valid() -> None:
    def rename(job: Job) -> None:
        job.feature("first", job.event.author.name)

    hub = MemoryHub(SystemClock())
    await hub.submit(TEXT)
    await Runner(plugin_of(count), hub).run(asyncio.Event(), once=True)
    other = Plugin("other", "1.0", actions=["enriched"], streams=(), features={"first": "string"})
    other.run(rename)
    hub.put(hub.events.pop())
    assert (await _final(other, hub))[0] == "completed"
    [event] = hub.events
    assert [node.action for node in event.source.path] == ["sourced", "enriched"]
    assert event.entity.features[0].value == "tested"


def test_the_events_are_what_the_hub_would_write() -> None:
    for event in testing.run(plugin_of(everything), TEXT).events:
        again = completed(replace(event, kafka_key="", track_links=(), track_authors=()))
        assert encode_as_posted(again) == encode_as_posted(event)


def test_the_kit_is_imported_without_the_application() -> None:
    code = (
        "import sys, headrace, headrace.testing\n"
        "heavy = {'aiohttp', 'faust', 'sqlalchemy', 'pydantic', 'typer', 'aiokafka', 'yara_x', 'numpy'}\n"
        "ours = {'pipeline.web', 'pipeline.log.kafka', 'pipeline.log.embedded', 'agents', 'pipeline.app'}\n"
        "print(sorted((heavy | ours) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_function_runs_in_a_thread_of_its_own() -> None:
    seen: list[str] = []
    testing.run(plugin_of(lambda _: seen.append(threading.current_thread().name)), TEXT)
    assert seen == [f"plugin-{sha256(TEXT)[:8]}"]
