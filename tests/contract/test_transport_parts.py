"""The parts of the Faust transports that need no log: commit rule, intake, watchdog, log limit."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline import limits
from pipeline.clock import ManualClock
from pipeline.log.port import Record
from pipeline.log.transport.fetched import Fetched
from pipeline.log.transport.intake import Intake
from pipeline.log.transport.progress import Progress
from pipeline.log.transport.quiet import RateLimit
from pipeline.log.transport.watchdog import Watchdog


def record(offset: int, *, partition: int = 0, value: bytes = b"") -> Record:
    return Record("t", partition, offset, 0, None, value)


# --- the commit rule --------------------------------------------------------------------------


@given(
    start=st.integers(0, 50),
    readable=st.lists(st.booleans(), min_size=1, max_size=60),
    lists=st.integers(1, 7),
    data=st.data(),
)
def test_the_committable_offset_never_passes_a_readable_record_that_is_open(
    start: int, readable: list[bool], lists: int, data: st.DataObject
) -> None:
    """Whatever the gaps, the lists records come in, and the order in which they are acknowledged."""
    offsets = [start + index for index, there in enumerate(readable) if there]
    progress = Progress(start)
    track = progress.track("agent")
    for index in range(0, len(offsets), lists):
        Fetched(None, [record(offset) for offset in offsets[index : index + lists]], progress).arrive(track)
    left = set(offsets)
    for offset in data.draw(st.permutations(offsets)):
        track.finish(offset, offset + 1)
        left.discard(offset)
        committable = progress.committable
        lowest_open = min(left, default=None)
        assert committable is None or lowest_open is None or committable <= lowest_open
        if lowest_open is not None and lowest_open > start:
            assert committable == lowest_open
    if offsets:
        assert progress.committable == offsets[-1] + 1


def test_with_two_readers_the_slower_one_decides() -> None:
    progress = Progress(0)
    one, two = progress.track("one"), progress.track("two")
    for track in (one, two):
        track.arrive(0, 9)
    one.finish(0, 10)
    seen = [progress.committable]
    two.finish(0, 4)
    seen.append(progress.committable)
    assert seen == [None, 4]
    assert progress.open_records == 6


# --- the intake -------------------------------------------------------------------------------


def intake(**changes: Any) -> Intake:
    values: dict[str, Any] = {"limit_records": 10, "limit_bytes": 100, "on_room": lambda: None}
    return Intake(**{**values, **changes})


def fill(target: Intake, progress: Progress, count: int, *, partition: int = 0, value: bytes = b"") -> None:
    first = progress.next or 0
    records = [record(first + index, partition=partition, value=value) for index in range(count)]
    progress.next = first + count
    track = progress.track("agent")
    track.arrive(records[0].offset, records[-1].offset)
    target.put(records, progress, track)


async def test_partitions_take_turns_and_small_lists_are_put_together() -> None:
    target, one, two = intake(), Progress(0), Progress(0)
    fill(target, one, 3)
    fill(target, two, 2, partition=1)
    fill(target, one, 3)
    taken = [await target.take(5, "me") for _ in range(3)]
    assert [(batch.partition, len(batch)) for batch in taken] == [(0, 3), (1, 2), (0, 3)]
    fill(target, one, 2)
    fill(target, one, 2)
    assert len(await target.take(5, "me")) == 4


async def test_what_became_stale_while_it_waited_is_never_handed_out() -> None:
    target, old, new, other = intake(), Progress(0), Progress(0), Progress(0)
    fill(target, old, 3)
    fill(target, other, 1, partition=1)
    old.closed = True
    fill(target, new, 2)
    other.closed = True
    batch = await target.take(500, "me")
    assert (len(batch), batch.partition) == (2, 0)
    assert batch.current
    assert not await _anything(target)
    assert target.statistics().waiting_records == 0


async def test_batches_nobody_will_acknowledge_any_more_are_let_go() -> None:
    target, old, new = intake(), Progress(0), Progress(0)
    fill(target, old, 3)
    lost = await target.take(500, "me")
    old.closed = True
    fill(target, new, 2)
    assert not lost.current
    assert target.statistics().open_batches == 0


async def _anything(target: Intake) -> bool:
    waiting = asyncio.ensure_future(target.take(1, "me"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return not waiting.cancelled()


async def test_a_full_intake_asks_for_more_only_when_half_of_it_is_gone() -> None:
    asked: list[bool] = []
    target = intake(on_room=lambda: asked.append(True))
    fill(target, Progress(0), 10)
    assert target.full
    await target.take(4, "me")
    assert not asked
    await target.take(4, "me")
    assert asked == [True]


async def test_bytes_fill_an_intake_as_well_as_records() -> None:
    target = intake()
    fill(target, Progress(0), 2, value=bytes(60))
    assert target.full


async def test_an_error_thrown_in_reaches_the_waiting_agent() -> None:
    target = intake()
    waiting = asyncio.ensure_future(target.take(1, "me"))
    await asyncio.sleep(0)
    target._throw(StopAsyncIteration())  # noqa: SLF001 - as Faust does it
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_only_the_agent_that_raised_is_given_its_batches_again() -> None:
    target = intake()
    fill(target, Progress(0), 4)
    mine, other = await target.take(2, "me"), await target.take(2, "other")
    mine.acknowledge_record(mine.records[0])
    target.hand_again("me")
    again = await target.take(2, "me")
    assert again.records == mine.records[1:]
    again.acknowledge()
    assert target.statistics().open_batches == 1
    other.acknowledge()
    assert target.statistics().open_batches == 0


# --- the watchdog -----------------------------------------------------------------------------


class Pretended:
    """The few things the watchdog looks at; the whole of Faust cannot be made to hang on demand."""

    def __init__(self) -> None:
        self.tp = TP("t", 0)
        self.reading = Progress(0)
        self.track = self.reading.track("agent")
        self.end = 0
        self.position_now = 0
        self.down = False
        self.app = SimpleNamespace(
            conf=SimpleNamespace(id="watched"),
            started=True,
            should_stop=False,
            rebalancing=False,
            crashed=False,
            crash_reason=None,
            consumer=self,
            topics=SimpleNamespace(acks_enabled_for=lambda _: True),
            give_up=self.give_up,
        )

    def give_up(self, reason: Exception) -> None:
        self.app.crashed = True
        self.app.crash_reason = reason

    def progress(self) -> dict[TP, Progress]:
        return {self.tp: self.reading}

    async def position(self, _: TP) -> int:
        return self.position_now

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        if self.down:
            raise ConnectionError("as a test wants it")
        return dict.fromkeys(partitions, self.end)


def watched() -> tuple[Pretended, ManualClock, Watchdog]:
    pretended = Pretended()
    clock = ManualClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    return pretended, clock, Watchdog(pretended.app, clock, stalled_after_seconds=100)


async def test_an_agent_with_work_that_makes_no_progress_is_called_stalled() -> None:
    pretended, clock, watchdog = watched()
    pretended.end = 10
    pretended.track.arrive(0, 9)
    await watchdog.look()
    clock.advance(99)
    await watchdog.look()
    assert watchdog.stalled() is None
    clock.advance(1)
    assert "at offset 0 of t[0] for 100 s, 10 records before its end" in str(watchdog.stalled())
    await watchdog.look()
    assert not pretended.app.crashed, "it may wait for a sink, which starting it again does not mend"
    pretended.track.finish(0, 1)
    await watchdog.look()
    assert watchdog.stalled() is None


async def test_an_agent_without_work_is_never_called_stalled() -> None:
    pretended, clock, watchdog = watched()
    await watchdog.look()
    clock.advance(1000)
    await watchdog.look()
    assert watchdog.stalled() is None
    pretended.end = 1
    await watchdog.look()
    clock.advance(99)
    assert watchdog.stalled() is None


async def test_a_log_that_does_not_answer_and_an_endless_rebalance_are_called_stalled() -> None:
    pretended, clock, watchdog = watched()
    pretended.down = True
    clock.advance(100)
    await watchdog.look()
    assert "has not answered" in str(watchdog.stalled())
    pretended.down = False
    await watchdog.look()
    assert watchdog.stalled() is None
    pretended.app.rebalancing = True
    clock.advance(100)
    await watchdog.look()
    assert "rebalancing" in str(watchdog.stalled())
    await watchdog.look()
    assert "rebalancing for 100 s" in str(pretended.app.crash_reason)


async def test_an_end_of_markers_only_is_not_taken_for_records_nobody_reads() -> None:
    pretended, clock, watchdog = watched()
    pretended.end = 10
    pretended.position_now = 10
    await watchdog.look()
    clock.advance(100)
    await watchdog.look()
    assert not pretended.app.crashed
    pretended.position_now = 9
    await watchdog.look()
    clock.advance(100)
    await watchdog.look()
    assert "at offset 0" in str(pretended.app.crash_reason)


# --- the limit on log lines -------------------------------------------------------------------


def test_a_line_repeated_without_end_is_written_a_few_times_a_minute_and_counted() -> None:
    now = [0.0]
    limit = RateLimit(lambda: now[0])

    def line() -> tuple[bool, str]:
        entry = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "no broker %s", ("x",), None)
        return limit.filter(entry), entry.getMessage()

    passed = [line()[0] for _ in range(1000)]
    assert passed.count(True) == limits.LOG_LINES_PER_WINDOW
    now[0] = limits.LOG_WINDOW_SECONDS
    assert line() == (
        True,
        f"no broker x ({1000 - limits.LOG_LINES_PER_WINDOW} more of these were left out)",
    )
