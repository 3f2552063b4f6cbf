"""One run over messages to restore, or over a share of them: announced, sent, written down, compared.

A window after the other: what comes next is announced in the journal, sent, and then settled there, while
the next ones are being read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, NamedTuple

import msgspec

from pipeline import limits, limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.ahead import ahead
from pipeline.archive.restore.journal import VERSION, Begin, Journal, State, Step, bound
from pipeline.archive.restore.map import offset_map
from pipeline.archive.restore.plan import Plan, Position, Window
from pipeline.archive.restore.records import BATCH_OVERHEAD_BYTES, Made, Recorder, Target
from pipeline.archive.restore.report import (
    Delivered,
    Options,
    Progress,
    Report,
    Selection,
    Verified,
)
from pipeline.archive.restore.selection import Lane
from pipeline.archive.restore.sending import Sender
from pipeline.archive.restore.settled import settle
from pipeline.archive.restore.target import places_of
from pipeline.archive.restore.verify import Verifier
from pipeline.errors import Conflict
from pipeline.log.port import Log, NewRecord, TopicPartition

Told = Callable[[Progress], None]


class Work(NamedTuple):
    """What is to be restored, from where to where."""

    archive: Archive
    destination: Log
    selection: Selection
    options: Options
    plan: Plan
    targets: dict[str, Target]
    lanes: Sequence[Lane] = ()
    """Those of a share; none mean all."""


class _Prepared(NamedTuple):
    """A window with what becomes of each of its rows."""

    window: Window
    made: list[Made]
    up_to: Position
    """Up to where messages may have been sent when these are."""
    uncertain: bool


class Run:
    """One run. Topics are there, and the journal is open and belongs to this work.

    Args:
        work: What is to be done.
        journal: Remembers it.
        progress: Told how far it is.
    """

    def __init__(self, work: Work, journal: Journal, progress: Told) -> None:
        self._archive, self._destination, _, self._options, self._plan, *_ = work
        self._work = work
        self._journal = journal
        self._progress = progress
        self._sent_before = 0

    async def whole(self, state: State | None) -> Report:
        """Send what the journal does not know as settled, verify where that is asked, and report.

        Raises:
            Conflict: What was sent is not there any more. Unavailable: A part does not answer.
        """
        if state is None:
            state = await self._begin()
        else:
            await self._check_destination(state)
        self._sent_before = state.sent
        await self._send(state)
        verified = await self._verify(state) if self._options.verify else None
        return await self._report(state, verified)

    # --- beginning, and going on ---

    async def _begin(self) -> State:
        """Write down how everything is before anything is sent."""
        _, _, selection, options, plan, targets, lanes = self._work
        bounds = await self._destination.bounds(places_of(plan.lanes(), targets, options))
        begin = Begin(
            VERSION,
            selection,
            bound(options),
            plan.newest,
            targets,
            [(*place, found.end) for place, found in bounds.items()],
            list(lanes),
        )
        await self._journal.write(begin)
        return State(begin)

    async def _check_destination(self, state: State) -> None:
        """Refuse to go on when what was sent cannot be there any more."""
        reached = {place: mark.end for place, mark in state.marks.items()}
        for place, bounds in (await self._destination.bounds(list(reached))).items():
            if bounds.end < reached[place]:
                raise Conflict(
                    f"go on with the journal {self._options.journal}",
                    f"partition {place.partition} of topic {place.topic} ends at {bounds.end}, and messages"
                    f" were sent up to {reached[place]}",
                    "remove the journal to send everything again",
                )

    # --- sending ---

    async def _send(self, state: State) -> None:
        """Send what is not settled, one window after the other, each announced in the journal first."""
        sender = self._sender(state)
        source = self._prepared(state, Recorder(state.begin.targets, self._options))
        step = Step(done=state.done)
        async with aclosing(ahead(source, limits_archive.RESTORE_WINDOWS_AHEAD)) as windows:
            async for prepared in windows:
                # On disk from here on: what comes up to there may have arrived, and before it all is known.
                await self._write(state, msgspec.structs.replace(step, next=prepared.up_to))
                offsets = await self._send_window(state, sender, prepared)
                step = settle(state.marks, prepared.window, prepared.made, offsets)
                step = msgspec.structs.replace(step, recognised=sender.recognised)
                sender.recognised = 0
        if state.next is not None:
            await self._write(state, step)

    async def _write(self, state: State, step: Step) -> None:
        await self._journal.write(step)
        state.take(step)

    def _sender(self, state: State) -> Sender:
        ends = {TopicPartition(topic, partition): end for topic, partition, end in state.begin.starts}
        ends |= {place: mark.end for place, mark in state.marks.items()}
        smallest = min((target.record_max_bytes for target in state.begin.targets.values()), default=0)
        # Kafka holds what it takes together against the limit of a single message.
        whole = smallest >= limits.KAFKA_BATCH_BYTES + BATCH_OVERHEAD_BYTES
        return Sender(
            self._destination,
            self._archive.clock,
            rate=self._options.rate,
            append_max_bytes=None if whole else smallest - BATCH_OVERHEAD_BYTES,
            ends=ends,
        )

    async def _prepared(self, state: State, recorder: Recorder) -> AsyncGenerator[_Prepared, None]:
        """Read what comes next; first what was announced and may have been sent."""
        after, announced, objects = state.done, state.next, self._archive.objects
        if announced is not None:
            # Windows may be cut in other places than they were then.
            async for window in self._plan.windows(after, until=announced):
                made = await recorder.read(objects, window.rows)
                yield _Prepared(window, made, announced, uncertain=True)
            after = announced
        async for window in self._plan.windows(after):
            made = await recorder.read(objects, window.rows)
            yield _Prepared(window, made, window.position, uncertain=False)

    async def _send_window(self, state: State, sender: Sender, prepared: _Prepared) -> list[int]:
        """Send the records of a window and return their offsets."""
        made, window = prepared.made, prepared.window
        rows = [row for row, each in zip(window.rows, made, strict=True) if isinstance(each, NewRecord)]
        records = [each for each in made if isinstance(each, NewRecord)]
        offsets: dict[int, int] = {}
        size_bytes = state.bytes
        async for arrived in sender.send(records, uncertain=prepared.uncertain):
            offsets |= arrived
            size_bytes += sum([rows[index].size for index in arrived])
            self._tell("sending", state.messages + len(offsets), size_bytes)
        return [offsets[index] for index in range(len(records))]

    def _tell(self, stage: Literal["sending", "verifying"], messages: int, size_bytes: int) -> None:
        plan = self._plan
        self._progress(Progress(stage, messages, plan.messages, size_bytes, plan.bytes))

    # --- afterwards ---

    async def _verify(self, state: State) -> Verified:
        def told(messages: int, size_bytes: int) -> None:
            self._tell("verifying", messages, size_bytes)

        recorder = Recorder(state.begin.targets, self._options)
        return await Verifier(
            self._archive.objects, self._destination, self._plan, recorder, state.begin, told=told
        ).compare(self._journal)

    async def _report(self, state: State, verified: Verified | None) -> Report:
        plan = self._plan
        ranges = await offset_map(self._journal, self._options.offset_map)
        return Report(
            complete=not state.failed,
            dry_run=False,
            destination=self._options.destination,
            selected=plan.messages,
            selected_bytes=plan.bytes,
            sent=state.sent,
            sent_now=state.sent - self._sent_before,
            recognised=state.recognised,
            placeholders=state.placeholders,
            failed=state.failed,
            failures=state.failures,
            topics=plan.selected(),
            created=[],
            warnings=[],
            delivered=[
                Delivered(place.topic, place.partition, mark.messages, mark.bytes, mark.first, mark.end)
                for place, mark in sorted(state.marks.items())
            ],
            offset_map=ranges,
            verified=verified,
        )
