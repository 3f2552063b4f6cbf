"""Archived messages played back into a log, and proof that they are there (archive contract, section 16).

Every message is checked against its row before it is sent. A journal says at any moment what was sent, so
a run that was interrupted, however, goes on and sends nothing twice. What cannot be sent is named in the
report and stops nothing else. Reading the archive goes on while messages are being sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal, NamedTuple

import msgspec

from pipeline import limits, limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.ahead import ahead
from pipeline.archive.restore.journal import VERSION, Begin, Journal, State, Step, bound, check_same
from pipeline.archive.restore.look import look
from pipeline.archive.restore.map import offset_map
from pipeline.archive.restore.plan import Plan, Position, Window, make_plan
from pipeline.archive.restore.records import BATCH_OVERHEAD_BYTES, Made, Recorder
from pipeline.archive.restore.report import (
    Delivered,
    Options,
    Progress,
    Report,
    Selection,
    Verified,
)
from pipeline.archive.restore.selection import find_newest
from pipeline.archive.restore.sending import Sender
from pipeline.archive.restore.settled import settle
from pipeline.archive.restore.target import Topics, make_topics, plan_topics
from pipeline.archive.restore.verify import Verifier
from pipeline.errors import BadInput, Conflict
from pipeline.log.port import Log, NewRecord, TopicPartition

__all__ = ["Options", "Progress", "Report", "Selection", "restore"]

Told = Callable[[Progress], None]


async def restore(
    archive: Archive,
    destination: Log,
    selection: Selection,
    options: Options,
    *,
    progress: Told = lambda _: None,
) -> Report:
    """Play the selected messages back into the destination.

    Raises:
        BadInput: An option cannot be used, or a name is no topic's. Nothing was sent.
        NotFound: The archive has no such topic or uuid. Nothing was sent.
        Conflict: A topic of the destination cannot take what is to go there, or the journal belongs to
            another restore or is in use. Nothing was sent.
        Damaged: The journal is no journal. Nothing was sent.
        Unavailable: A part does not answer; with a journal, the same call goes on where this one ended.
    """
    if options.rate < 0:
        raise BadInput("restore messages", f"a rate of {options.rate:g} messages a second is none")
    journal = Journal(None if options.dry_run else options.journal)
    try:
        run = _Run(archive, destination, selection, options, journal=journal, progress=progress)
        return await run.whole(await journal.open())
    finally:
        await journal.close()


class _Prepared(NamedTuple):
    """A window with what becomes of each of its rows."""

    window: Window
    made: list[Made]
    up_to: Position
    """Up to where messages may have been sent when these are."""
    uncertain: bool


class _Run:
    """One run of a restore."""

    def __init__(
        self,
        archive: Archive,
        destination: Log,
        selection: Selection,
        options: Options,
        *,
        journal: Journal,
        progress: Told,
    ) -> None:
        self._archive = archive
        self._destination = destination
        self._selection = selection
        self._options = options
        self._journal = journal
        self._progress = progress
        self._sent_before = 0

    async def whole(self, state: State | None) -> Report:
        """Plan, send and verify."""
        database = self._archive.database
        if state is None:
            newest = await find_newest(database)
        else:
            newest = state.begin.newest
            check_same(self._options.journal, state.begin, self._selection, self._options)
            await self._check_archive(state)
        plan = await make_plan(database, self._selection, self._options, newest)
        topics = await plan_topics(database, self._destination, plan, self._options, self._archive.clock)
        if self._options.dry_run:
            return await look(self._archive, plan, topics, self._options, self._progress)
        created: list[str] = []
        if state is None:
            created = await make_topics(self._destination, topics.missing)
            state = await self._begin(plan, topics)
        else:
            await self._check_destination(state, topics)
        self._sent_before = state.sent
        await self._send(plan, state)
        verified = await self._verify(plan, state) if self._options.verify else None
        return await self._report(plan, state, topics, created, verified)

    # --- beginning, and going on ---

    async def _begin(self, plan: Plan, topics: Topics) -> State:
        """Write down how everything is before anything is sent."""
        places = [
            TopicPartition(target.name, partition)
            for target in {target.name: target for target in topics.targets.values()}.values()
            for partition in range(target.partitions)
        ]
        bounds = await self._destination.bounds(places)
        begin = Begin(
            VERSION,
            self._selection,
            bound(self._options),
            plan.newest,
            topics.targets,
            [(place.topic, place.partition, bounds[place].end) for place in places],
        )
        await self._journal.write(begin)
        return State(begin)

    async def _check_archive(self, state: State) -> None:
        newest = state.begin.newest
        there = await find_newest(self._archive.database, newest.id)
        if there.id == newest.id and there.uuid != newest.uuid:
            raise Conflict(
                f"go on with the journal {self._options.journal}",
                "it belongs to another archive: the messages there have other serial numbers",
                "name another file for this one",
            )

    async def _check_destination(self, state: State, topics: Topics) -> None:
        """Refuse to go on when what was sent cannot be there any more."""
        tried = f"go on with the journal {self._options.journal}"
        todo = "remove the journal to send everything again"
        if topics.missing:
            names = ", ".join(spec.name for spec in topics.missing)
            raise Conflict(tried, f"topics it sent to are not there any more: {names}", todo)
        reached = {place: mark.end for place, mark in state.marks.items()}
        for place, bounds in (await self._destination.bounds(list(reached))).items():
            if bounds.end < reached[place]:
                why = f"partition {place.partition} of topic {place.topic} ends at {bounds.end}"
                raise Conflict(tried, f"{why}, and messages were sent up to {reached[place]}", todo)

    # --- sending ---

    async def _send(self, plan: Plan, state: State) -> None:
        """Send what is not settled, one window after the other, each announced in the journal first."""
        sender = self._sender(state)
        source = self._prepared(plan, state, Recorder(state.begin.targets, self._options))
        step = Step(done=state.done)
        async with aclosing(ahead(source, limits_archive.RESTORE_WINDOWS_AHEAD)) as windows:
            async for prepared in windows:
                # On disk from here on: what comes up to there may have arrived, and before it all is known.
                await self._write(state, msgspec.structs.replace(step, next=prepared.up_to))
                offsets = await self._send_window(plan, state, sender, prepared)
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

    async def _prepared(
        self, plan: Plan, state: State, recorder: Recorder
    ) -> AsyncGenerator[_Prepared, None]:
        """Read what comes next; first what was announced and may have been sent."""
        after, announced, objects = state.done, state.next, self._archive.objects
        if announced is not None:
            # Windows may be cut in other places than they were then.
            async for window in plan.windows(after, until=announced):
                made = await recorder.read(objects, window.rows)
                yield _Prepared(window, made, announced, uncertain=True)
            after = announced
        async for window in plan.windows(after):
            made = await recorder.read(objects, window.rows)
            yield _Prepared(window, made, window.position, uncertain=False)

    async def _send_window(
        self, plan: Plan, state: State, sender: Sender, prepared: _Prepared
    ) -> list[int]:
        """Send the records of a window and return their offsets."""
        made, window = prepared.made, prepared.window
        rows = [row for row, each in zip(window.rows, made, strict=True) if isinstance(each, NewRecord)]
        records = [each for each in made if isinstance(each, NewRecord)]
        offsets: dict[int, int] = {}
        size_bytes = state.bytes
        async for arrived in sender.send(records, uncertain=prepared.uncertain):
            offsets |= arrived
            size_bytes += sum([rows[index].size for index in arrived])
            self._tell("sending", plan, state.messages + len(offsets), size_bytes)
        return [offsets[index] for index in range(len(records))]

    def _tell(
        self, stage: Literal["sending", "verifying"], plan: Plan, messages: int, size_bytes: int
    ) -> None:
        self._progress(Progress(stage, messages, plan.messages, size_bytes, plan.bytes))

    # --- afterwards ---

    async def _verify(self, plan: Plan, state: State) -> Verified:
        def told(messages: int, size_bytes: int) -> None:
            self._tell("verifying", plan, messages, size_bytes)

        recorder = Recorder(state.begin.targets, self._options)
        return await Verifier(
            self._archive.objects, self._destination, plan, recorder, state.begin, told=told
        ).compare(self._journal)

    async def _report(
        self, plan: Plan, state: State, topics: Topics, created: list[str], verified: Verified | None
    ) -> Report:
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
            created=created,
            warnings=topics.warnings,
            delivered=[
                Delivered(place.topic, place.partition, mark.messages, mark.bytes, mark.first, mark.end)
                for place, mark in sorted(state.marks.items())
            ],
            offset_map=ranges,
            verified=verified,
        )
