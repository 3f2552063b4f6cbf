"""Writes that are collected and made durable together: what tables write to their changelogs.

`CollectingProducer` stands before a Faust producer class in the bases of ours. Everything collected in one
turn of the event loop goes out in one call, and what comes while that call is under way in the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from faust.transport.producer import Producer as FaustProducer
from mode import get_logger

from pipeline import limits
from pipeline.errors import HeadraceError, TooLarge, Unavailable
from pipeline.log.port import NewRecord, Placed

logger = get_logger(__name__)

Confirm = Callable[[Placed], None]


class CollectingProducer(FaustProducer):
    """Stands before a driver's class; ours give `append_all`.

    Order within a partition is the order of collecting. While the log cannot be reached, writes stay here
    and are tried again without end: their agents wait in `collected` and acknowledge nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting: list[tuple[NewRecord, Confirm | None]] = []
        self._collected_count = 0
        self._durable_count = 0
        self._turn = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._failure: HeadraceError | None = None
        self._given_up = False
        super().__init__(*args, **kwargs)

    async def append_all(self, records: Sequence[NewRecord]) -> list[Placed]:
        """Append records in order and return their places once all are durable; as `Log.append`."""
        raise NotImplementedError

    def collect(self, record: NewRecord, confirm: Confirm | None = None) -> None:
        """Take a record to be appended; `confirm` is called with its place when it is durable.

        Raises:
            TooLarge: The record is above the limit.
            Unavailable: Too many wait already: the log cannot be reached, or something does not wait.
        """
        size_bytes = len(record.key or b"") + len(record.value or b"")
        if size_bytes > limits.RECORD_MAX_BYTES:
            raise TooLarge(
                f"write to topic {record.topic}",
                f"the record has {size_bytes} bytes, the limit is {limits.RECORD_MAX_BYTES}",
            )
        self._raise_failure()
        if self._collected_count - self._durable_count >= limits.COLLECTED_RECORDS:
            raise Unavailable(
                f"write to topic {record.topic}",
                f"{limits.COLLECTED_RECORDS} writes wait for the log already",
                "see whether the log is up; agents wait for their writes before they take more",
            )
        self._waiting.append((record, confirm))
        self._collected_count += 1
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def collected(self) -> None:
        """Return when everything collected so far is durable.

        Raises:
            HeadraceError: The log refused a write for good; the app is stopping because of it.
        """
        target = self._collected_count
        while self._durable_count < target:
            self._raise_failure()
            await self._turn.wait()

    async def flush(self) -> None:
        """Wait until everything collected and everything sent is durable; a stop does not wait for ever."""
        if not self.app.should_stop:
            await self.collected()
            await super().flush()
        elif not self._given_up:
            try:
                async with asyncio.timeout(limits.STOP_FLUSH_SECONDS):
                    await self.collected()
                    await super().flush()
            except (TimeoutError, HeadraceError):
                self._given_up = True

    async def on_stop(self) -> None:
        """Give collected writes a last chance; the input of those that fail is not acknowledged."""
        await self.flush()
        if self._writer is not None:
            logger.warning(
                "%s table writes were not stored before the stop; their input comes again",
                self._collected_count - self._durable_count,
            )
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await super().on_stop()

    async def _write(self) -> None:
        """Append what waits until nothing does."""
        try:
            while self._waiting:
                await asyncio.sleep(0)
                taken, self._waiting = self._waiting, []
                places = await self._append_until_taken([record for record, _ in taken])
                for (_, confirm), place in zip(taken, places, strict=True):
                    if confirm is not None:
                        confirm(place)
                self._durable_count += len(taken)
                self._wake()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may go on waiting for these writes
            why = error if isinstance(error, HeadraceError) else HeadraceError("write tables", repr(error))
            self._failure = why
            self._wake()
            await self.crash(why)
        finally:
            self._writer = None

    async def _append_until_taken(self, records: list[NewRecord]) -> list[Placed]:
        pause = limits.CALL_BACKOFF_SECONDS
        while True:
            try:
                return await self.append_all(records)
            except Unavailable as error:
                # Some may have been written: writing all of them again in order ends in the same state.
                logger.warning("%s table writes wait for the log: %s", len(records), error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, limits.CALL_BACKOFF_MAX_SECONDS)

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is not None:
            raise type(failure)(failure.tried, failure.why, failure.todo) from failure

    def _wake(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()
