"""Who looks on while `housekeeping run` archives: it counts, verifies, and says when the run is over.

A run is over at the end marker of a test run, after as many messages as were wished for, or when what was
stored is not what was received (archive contract, sections 12 and 15.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog

from pipeline import metrics_archive
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.errors import Damaged
from pipeline.housekeeping import test_data

Compare = Callable[[Message, UUID], Awaitable[None]]
"""Returns when a stored message is what was received, raises `Damaged` when not."""
_ALWAYS_LOGGED: Final = 4
log = structlog.get_logger(__name__)


class Counts(msgspec.Struct):
    """What a run did with messages. `passed_over` were not to be stored; `parked` could not be."""

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    parked: int = 0
    passed_over: int = 0
    verified: int = 0


class Watch:
    """Sees every message of a run; keeps the contract of `pipeline.archive.attendant`.

    Args:
        counts: Are kept up to date.
        compare: Compares what was stored with what was received; None to compare nothing.
        test_run: Whether the messages are test data, with an end marker.
        max_messages: Messages after which the run is over; 0 for no end.
        objects_every: One object in so many gets a line in the log, after the first four.
        rows_every: The same for rows.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        compare: Compare | None = None,
        test_run: bool = False,
        max_messages: int = 0,
        objects_every: int = 100,
        rows_every: int = 100,
    ) -> None:
        self.counts = counts
        self.over = asyncio.Event()
        """Set when the run is to end; what is under way is finished first."""
        self._compare = compare
        self._test_run = test_run
        self._max_messages = max_messages
        self._every = {"stored": objects_every, "inserted": rows_every}
        self._open: set[object] = set()
        self._marked = False

    def wanted(self, message: Message) -> bool:
        """Count a message and say whether it is to be stored; the end marker is not."""
        place = message.place("")
        if place is None or place not in self._open:
            self.counts.received += 1
        log.debug("received", topic=message.topic, partition=message.partition, offset=message.offset)
        if self._test_run and message.value == test_data.END:
            self.counts.passed_over += 1
            self._marked = True
            self._end_if_due()
            return False
        if place is not None:
            self._open.add(place)
        return True

    async def settled(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        """Verify what was stored, count all, and end the run when it is time.

        Raises:
            Damaged: A message is not what was received, or not what was sent. It is not acknowledged.
        """
        for message, outcome in zip(messages, outcomes, strict=True):
            if self._compare is not None:
                await self._verify(self._compare, message, outcome)
            self._count(outcome)
            self._open.discard(message.place(""))
        self._end_if_due()

    async def _verify(self, compare: Compare, message: Message, outcome: Outcome) -> None:
        try:
            if self._test_run:
                test_data.check(message)
            if outcome.uuid is not None and outcome.stored:
                await compare(message, outcome.uuid)
                self.counts.verified += 1
        except Damaged:
            metrics_archive.VERIFIED.labels("damaged").inc()
            raise
        metrics_archive.VERIFIED.labels("ok").inc()

    def _count(self, outcome: Outcome) -> None:
        self.counts.duplicates += outcome.duplicate
        self.counts.parked += outcome.refused
        if outcome.stored:
            self.counts.stored += 1
            for done, every in self._every.items():
                if self.counts.stored <= _ALWAYS_LOGGED or not self.counts.stored % max(every, 1):
                    line = f"{done} {self.counts.stored} objects."
                    log.info(line)

    def _end_if_due(self) -> None:
        counts = self.counts
        done = counts.stored + counts.duplicates + counts.parked + counts.passed_over
        enough = 0 < self._max_messages <= done
        if enough or (self._marked and not self._open):
            self.over.set()
