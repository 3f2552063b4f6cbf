"""A topic followed from its start, in the background, for as long as somebody wants to know."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping

import structlog

from pipeline import limits, metrics_hub
from pipeline.clock import Clock, SystemClock
from pipeline.errors import HeadraceError, Unavailable
from pipeline.log.port import Bounds, Log, Reader, Record, TopicPartition

_log = structlog.get_logger(__name__)
_READ_WAIT_SECONDS = 1.0
_READ_RECORDS = 5000


class Follower(ABC):
    """Gives every record of a topic to `take`, in order within each partition, and goes on as more come.

    What it knows is durable, a moment late. `caught_up` waits until it has everything that was there at the
    time of the call. While the log does not answer it keeps what it has and tries again. When `take` raises
    something else it stops for good, and every use raises that.

    Args:
        log: An open log.
        topic: All its partitions are followed.
        clock: Spaces the tries when the log does not answer.
    """

    def __init__(self, log: Log, topic: str, clock: Clock | None = None) -> None:
        self.topic = topic
        self._log = log
        self._clock = clock or SystemClock()
        self._reached: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: HeadraceError | None = None
        self._pause_seconds = limits.CALL_BACKOFF_SECONDS
        self._opening = asyncio.Lock()
        self._complete = False

    @abstractmethod
    def take(self, record: Record) -> None:
        """Take in one record. A `HeadraceError` ends the following."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of everything: the following ended, and half of it would be wrong."""

    async def open(self) -> None:
        """Start to follow the topic; safe to repeat.

        Raises:
            NotFound: There is no such topic.
            Unavailable: The log does not answer.
        """
        async with self._opening:
            if self._task is None:
                bounds = await self._bounds()
                self._reached = {place: there.start for place, there in bounds.items()}
                self._task = asyncio.create_task(self._follow(), name=f"follower of {self.topic}")

    async def ready(self) -> None:
        """Return when it follows and once had everything there was. Raises as `open` and `caught_up`."""
        if not self._complete:
            await self.open()
            await self.caught_up()
            self._complete = True
        self.check()

    async def refresh(self) -> None:
        """Return when it follows and has everything there is now. Raises as `open` and `caught_up`."""
        await self.open()
        await self.caught_up()

    async def close(self) -> None:
        """Stop following; safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def check(self) -> None:
        """Return when it is open and follows.

        Raises:
            HeadraceError: Why it does not.
        """
        if self._error is not None:
            raise self._error
        if self._task is None:
            raise Unavailable(f"follow topic {self.topic}", "the follower is not open")

    async def caught_up(self, timeout_seconds: float = limits.LOG_CALL_TIMEOUT_SECONDS) -> None:
        """Wait until everything was taken in that was in the topic when this was called.

        Raises:
            Unavailable: It took longer, or the log does not answer.
            HeadraceError: It has stopped.
        """
        ends = {place: there.end for place, there in (await self._bounds()).items()}
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._has(ends):
                    self.check()
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise Unavailable(
                f"follow topic {self.topic}",
                f"not all of it was read within {timeout_seconds:g} s",
                "try again",
            ) from None
        self.check()

    def _has(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(self._reached.get(place, 0) >= end for place, end in ends.items())

    async def _bounds(self) -> dict[TopicPartition, Bounds]:
        partitions = (await self._log.topics()).get(self.topic, 1)
        return await self._log.bounds([TopicPartition(self.topic, n) for n in range(partitions)])

    # --- following ---

    async def _follow(self) -> None:
        while self._error is None:
            try:
                await self._read_on()
            except Unavailable as error:
                _log.warning("waiting for the log", topic=self.topic, reason=str(error))
                await self._clock.sleep(self._pause_seconds)
                self._pause_seconds = min(2 * self._pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)
            except HeadraceError as error:
                self._fail(error)

    async def _read_on(self) -> None:
        reader = self._log.reader(self._reached)
        try:
            while True:
                await self._read(reader)
        finally:
            await reader.close()

    async def _read(self, reader: Reader) -> None:
        records = await reader.read(max_records=_READ_RECORDS, wait_seconds=_READ_WAIT_SECONDS)
        size_bytes = 0
        for record in records:
            self.take(record)
            size_bytes += len(record.value or b"")
        if size_bytes:
            name = self.topic.rpartition(".")[2]
            metrics_hub.CONSUMED_BYTES.labels(name, "", self.topic).inc(size_bytes)
        self._reached = reader.positions()
        self._moved.set()
        self._pause_seconds = limits.CALL_BACKOFF_SECONDS

    def _fail(self, error: HeadraceError) -> None:
        _log.error("following stopped", topic=self.topic, reason=str(error))
        self._error = error
        self.forget()
        self._moved.set()
