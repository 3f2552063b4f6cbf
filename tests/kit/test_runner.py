"""The loop of a plugin on a clock of the test: heartbeats, time limits, pauses, stopping."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from headrace import Job
from headrace.hub import Fetched, StreamName, Subscription
from headrace.memory import MemoryHub
from headrace.plugin import Plugin
from headrace.runner import Runner
from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.errors import BadInput, HeadraceError, Unavailable
from pipeline.events.parts import Datastream
from pipeline.events.plugin import PluginEvent
from pipeline.events.status import StatusEvent
from tests.kit.plugins import count, everything, plugin_of
from tests.processes import until

START = dt.datetime(2026, 11, 1, 10, 20, 30, tzinfo=dt.UTC)


class Recording(MemoryHub):
    """A hub in memory that fails where it is told to, and whose empty fetches wait on the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.fetches = 0
        self.mixes_up = False
        """Whether it says of uploads that they are something else."""
        self.failures: dict[str, list[Exception]] = {}
        """What the next calls of a name fail with."""
        self.beating, self.beats = asyncio.Event(), asyncio.Event()
        """A heartbeat is on its way; heartbeats arrive."""
        self.beats.set()
        self.hold = True
        """Whether a fetch that finds nothing waits for its deadline."""

    def _fail(self, call: str) -> None:
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    async def fetch(self, wanted: Subscription) -> Fetched:
        self.fetches += 1
        self._fail("fetch")
        fetched = await super().fetch(wanted)
        if self.hold and not fetched.events and not fetched.filtered:
            await self.clock.sleep(limits.PLUGIN_FETCH_SECONDS)
        return fetched

    async def read(self, stream: StreamName, into: Path, size_bytes: int) -> None:
        self._fail("read")
        await super().read(stream, into, size_bytes)

    async def upload(self, stream: StreamName, path: Path) -> Datastream:
        self._fail("upload")
        stored = await super().upload(stream, path)
        return replace(stored, sha256="0" * 64) if self.mixes_up else stored

    async def publish(self, event: PluginEvent | StatusEvent, *, attempts: int = 1) -> None:
        name = "register" if isinstance(event, PluginEvent) else event.entity.status
        self._fail(name)
        if name == "heartbeat":
            self.beating.set()
            await self.beats.wait()
        await super().publish(event, attempts=attempts)

    @property
    def words(self) -> list[str]:
        """The statuses that came."""
        return [status.entity.status for status in self.statuses]


@pytest.fixture
def hub() -> Recording:
    """Give a hub."""
    return Recording(ManualClock(START))


class Running:
    """A runner that runs until it is stopped."""

    def __init__(self, plugin: Plugin, hub: Recording, concurrency: int = 1) -> None:
        self.stop = asyncio.Event()
        runner = Runner(plugin, hub, clock=hub.clock, concurrency=concurrency)
        self.task = asyncio.create_task(runner.run(self.stop))

    async def ended(self) -> None:
        """Stop it and return when it has ended."""
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


async def test_a_long_job_says_every_half_minute_that_it_lives_and_nothing_after_its_end(
    hub: Recording,
) -> None:
    go_on = asyncio.Event()

    async def long(job: Job) -> None:
        await go_on.wait()
        count(job)

    await hub.submit(b"x\n")
    running = Running(plugin_of(long), hub)
    await until(lambda: hub.fetches == 1)
    for beats in (1, 2, 3):
        await until(lambda: running_is_asleep(hub))
        hub.clock.advance(limits.PLUGIN_HEARTBEAT_SECONDS)
        await until(lambda beats=beats: hub.words == ["heartbeat"] * beats)
    go_on.set()
    await until(lambda: len(hub.final) == 1)
    hub.clock.advance(10 * limits.PLUGIN_HEARTBEAT_SECONDS)
    await running.ended()
    assert hub.words == ["heartbeat"] * 3 + ["completed"]
    assert hub.final[0].entity.runtime == 3 * limits.PLUGIN_HEARTBEAT_SECONDS


def running_is_asleep(hub: Recording) -> bool:
    """Tell whether somebody waits on the clock."""
    return bool(hub.clock._sleepers)  # noqa: SLF001 - the state that is waited for


async def test_a_heartbeat_that_is_on_its_way_arrives_before_the_final_status(hub: Recording) -> None:
    go_on = asyncio.Event()

    async def long(_: Job) -> None:
        await go_on.wait()

    await hub.submit(b"x\n")
    running = Running(plugin_of(long), hub)
    await until(lambda: running_is_asleep(hub))
    hub.beats.clear()
    hub.clock.advance(limits.PLUGIN_HEARTBEAT_SECONDS)
    await hub.beating.wait()
    go_on.set()
    running.stop.set()
    await asyncio.sleep(0.05)  # the wrong order would come about meanwhile
    assert hub.words == []
    hub.beats.set()
    await running.ended()
    assert hub.words == ["heartbeat", "completed-empty"]


async def test_an_upload_the_hub_knows_under_another_hash_is_named_by_no_event(hub: Recording) -> None:
    hub.mixes_up = True
    await hub.submit(b"one\ntwo\n")
    running = Running(plugin_of(everything), hub)
    await until(lambda: hub.words == ["error-output"])
    await running.ended()
    assert hub.events == []


@pytest.mark.parametrize("lost", [1, 100])
async def test_lost_heartbeats_do_not_disturb_the_job(hub: Recording, lost: int) -> None:
    go_on = asyncio.Event()

    async def long(job: Job) -> None:
        await go_on.wait()
        count(job)

    hub.failures["heartbeat"] = [Unavailable("post") for _ in range(lost)]
    await hub.submit(b"x\n")
    running = Running(plugin_of(long), hub)
    await until(lambda: running_is_asleep(hub))
    with capture_logs() as logged:
        hub.clock.advance(limits.PLUGIN_HEARTBEAT_SECONDS)
        await until(lambda: len(logged) == 1)
    go_on.set()
    await until(lambda: hub.words == ["completed"])
    await running.ended()


async def test_a_function_in_a_thread_that_takes_too_long_ends_as_a_timeout_and_is_taken_nothing_from(
    hub: Recording,
) -> None:
    begun, go_on, raised = threading.Event(), threading.Event(), threading.Event()

    def slow(job: Job) -> None:
        begun.set()
        go_on.wait(20)
        try:
            job.feature("lines", 1)
        except HeadraceError:
            raised.set()

    await hub.submit(b"x\n")
    running = Running(plugin_of(slow, timeout_seconds=5), hub)
    await until(begun.is_set)
    await until(lambda: running_is_asleep(hub))
    hub.clock.advance(5)
    await until(lambda: hub.words == ["error-timeout"])
    assert "it has not ended after 5 s" in hub.final[0].entity.error
    go_on.set()
    await until(raised.is_set)
    await running.ended()
    assert hub.events == []


async def test_an_async_function_that_takes_too_long_is_cancelled(hub: Recording) -> None:
    ended = asyncio.Event()

    async def slow(_: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await hub.submit(b"x\n")
    running = Running(plugin_of(slow, timeout_seconds=5), hub)
    await until(lambda: hub.fetches == 1 and running_is_asleep(hub))
    await until(lambda: len(hub.clock._sleepers) == 2)  # noqa: SLF001 - the time limit and the heartbeat
    hub.clock.advance(5)
    await until(lambda: hub.words == ["error-timeout"])
    assert ended.is_set()
    await running.ended()


async def test_a_plugin_whose_functions_do_not_end_is_stopped_before_it_fills_the_machine(
    hub: Recording,
) -> None:
    go_on = threading.Event()

    def stuck(_: Job) -> None:
        go_on.wait(20)

    plugin = plugin_of(stuck, timeout_seconds=5)
    for number in range(limits.PLUGIN_STUCK_MAX):
        await hub.submit(b"%d" % number)
    running = Running(plugin, hub)
    for ended in range(limits.PLUGIN_STUCK_MAX):
        await until(lambda: len(hub.clock._sleepers) >= 2)  # noqa: SLF001 - both wait
        hub.clock.advance(5)
        await until(lambda ended=ended: len(hub.final) == ended + 1)
        hub.clock.advance(0)
    try:
        with pytest.raises(HeadraceError, match="did not end in time"):
            await running.ended()
    finally:
        go_on.set()


async def test_a_stop_lets_the_job_at_hand_finish_and_takes_no_other(hub: Recording) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        begun.set()
        await go_on.wait()
        count(job)

    await hub.submit(b"one\n")
    await hub.submit(b"two\n")
    running = Running(plugin_of(slow), hub)
    await begun.wait()
    running.stop.set()
    go_on.set()
    await running.ended()
    assert hub.words == ["completed"]


async def test_a_stop_ends_a_fetch_that_waits_for_nothing(hub: Recording) -> None:
    running = Running(plugin_of(count), hub)
    await until(lambda: hub.fetches == 1)
    await running.ended()


async def test_a_hub_that_is_away_is_waited_for_with_growing_pauses(hub: Recording) -> None:
    hub.failures = {
        "register": [Unavailable("post") for _ in range(2)],
        "fetch": [Unavailable("fetch") for _ in range(9)],
    }
    await hub.submit(b"x\n")
    with capture_logs() as logged:
        running = Running(plugin_of(count), hub)
        for failures in range(1, 12):
            await until(lambda failures=failures: len(logged) == failures)
            await until(lambda: running_is_asleep(hub))
            assert hub.words == []
            hub.clock.advance(logged[-1]["in_seconds"] - 0.01)
            await asyncio.sleep(0)
            assert len(logged) == failures, "it was asked before the pause was over"
            hub.clock.advance(0.02)
        await until(lambda: hub.words == ["completed"])
        await running.ended()
    pauses = [entry["in_seconds"] for entry in logged]
    assert pauses[:4] == [0.2, 0.4, 0.2, 0.4], "each call begins with a short one"
    assert pauses[-1] == limits.CALL_BACKOFF_MAX_SECONDS


async def test_a_hub_that_answers_at_once_with_nothing_is_not_hammered(hub: Recording) -> None:
    hub.hold = False
    running = Running(plugin_of(count), hub)
    for fetches in (1, 2, 3):
        await until(lambda: running_is_asleep(hub))
        assert hub.fetches == fetches
        hub.clock.advance(limits.PLUGIN_FETCH_SECONDS)
        await until(lambda fetches=fetches: hub.fetches == fetches + 1)
    await running.ended()


async def test_after_filtered_events_it_asks_again_at_once(hub: Recording) -> None:
    await hub.submit(b"x\n", source="other")
    running = Running(plugin_of(count, sources=["testing"]), hub)
    await until(lambda: hub.fetches == 2)
    await running.ended()
    assert hub.refused == ["reject_source"]


async def test_several_jobs_run_at_once_when_asked_to(hub: Recording) -> None:
    together = threading.Barrier(3, timeout=20)

    def meet(_: Job) -> None:
        together.wait()

    for data in (b"1", b"2", b"3"):
        await hub.submit(data)
    running = Running(plugin_of(meet), hub, concurrency=3)
    await until(lambda: hub.words == ["completed-empty"] * 3)
    await running.ended()


@pytest.mark.parametrize(
    ("call", "failure", "status"),
    [
        ("read", Unavailable("read"), "error-network"),
        ("read", BadInput("read"), "error-input"),
        ("read", OSError(28, "No space left on device"), "error-runner"),
        ("upload", Unavailable("upload"), "error-network"),
        ("upload", BadInput("upload"), "error-output"),
        ("completed", BadInput("publish"), "error-output"),
    ],
)
async def test_what_the_hub_does_not_do_is_the_status_of_the_task(
    hub: Recording, call: str, failure: Exception, status: str
) -> None:
    hub.failures[call] = [failure]
    await hub.submit(b"one\ntwo\n")
    running = Running(plugin_of(everything), hub)
    await until(lambda: hub.words == [status])
    await running.ended()
    assert hub.events == []


async def test_a_final_status_that_does_not_arrive_costs_that_task_alone(hub: Recording) -> None:
    hub.failures["completed"] = [Unavailable("post")]
    await hub.submit(b"one\n")
    await hub.submit(b"two\n")
    with capture_logs() as logged:
        running = Running(plugin_of(count), hub)
        await until(lambda: hub.words == ["completed"])
        await running.ended()
    assert [entry["event"] for entry in logged] == ["a task could not be ended"]


async def test_a_refused_plugin_ends_with_the_reason(hub: Recording) -> None:
    hub.failures["fetch"] = [BadInput("fetch", "bad parameter for r-action")]
    running = Running(plugin_of(count), hub)
    with pytest.raises(BadInput, match="bad parameter"):
        await running.task


async def test_a_plugin_without_a_function_is_refused_before_anybody_hears_of_it(hub: Recording) -> None:
    with pytest.raises(HeadraceError, match="it has no function"):
        await Running(Plugin("empty", "1.0"), hub).task
    assert hub.registered == []
