"""A table as others see it: a compacted topic, followed into memory."""

from __future__ import annotations

import asyncio
from collections.abc import ItemsView, Mapping

import structlog

from pipeline import limits
from pipeline.clock import Clock, SystemClock
from pipeline.errors import HeadraceError, TooLarge, Unavailable
from pipeline.log.port import Bounds, Log, Reader, Record, TopicPartition

_log = structlog.get_logger(__name__)
_READ_WAIT_SECONDS = 1.0
_READ_RECORDS = 5000


class TableView:
    """The newest value of each key of a topic, kept up to date in the background; read-only.

    It shows what is durable, a moment late. `caught_up` waits until it has everything that was there at
    the time of the call. While the log does not answer it keeps what it has and tries again. Keys and
    values are those of the topic, as bytes; a tombstone removes its key.

    Args:
        log: An open log.
        topic: The changelog; all its partitions are followed.
        clock: Spaces the tries when the log does not answer.
        max_bytes: Keys and values held at most. A table that outgrows this is not shown at all, since
            half a table would be a wrong one: every use raises `TooLarge` then.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        *,
        clock: Clock | None = None,
        max_bytes: int = limits.TABLE_VIEW_MAX_BYTES,
    ) -> None:
        self._log = log
        self._topic = topic
        self._clock = clock or SystemClock()
        self._max_bytes = max_bytes
        self._values: dict[bytes, bytes] = {}
        self._size_bytes = 0
        self._reached: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: HeadraceError | None = None
        self._pause_seconds = limits.CALL_BACKOFF_SECONDS

    async def open(self) -> None:
        """Start to follow the topic.

        Raises:
            NotFound: There is no such topic.
            Unavailable: The log does not answer.
        """
        if self._task is None:
            bounds = await self._bounds()
            self._reached = {place: there.start for place, there in bounds.items()}
            self._task = asyncio.create_task(self._follow(), name=f"view of {self._topic}")

    async def close(self) -> None:
        """Stop following; safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    # --- what it shows ---

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None when it has none."""
        self._check()
        return self._values.get(key)

    def items(self) -> ItemsView[bytes, bytes]:
        """Return all keys and values; they change while the caller awaits something."""
        self._check()
        return self._values.items()

    def __len__(self) -> int:
        """Count the keys."""
        self._check()
        return len(self._values)

    async def caught_up(self, timeout_seconds: float = limits.LOG_CALL_TIMEOUT_SECONDS) -> None:
        """Wait until everything is shown that was in the topic when this was called.

        Raises:
            Unavailable: It took longer, or the log does not answer.
            TooLarge: The table outgrew the view.
        """
        ends = {place: there.end for place, there in (await self._bounds()).items()}
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._has(ends):
                    self._check()
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise Unavailable(
                f"read the table behind topic {self._topic}",
                f"not all of it was read within {timeout_seconds:g} s",
                "try again",
            ) from None
        self._check()

    def _has(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(self._reached.get(place, 0) >= end for place, end in ends.items())

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._task is None:
            raise Unavailable(f"read the table behind topic {self._topic}", "the view is not open")

    async def _bounds(self) -> dict[TopicPartition, Bounds]:
        partitions = (await self._log.topics()).get(self._topic, 1)
        return await self._log.bounds([TopicPartition(self._topic, n) for n in range(partitions)])

    # --- following ---

    async def _follow(self) -> None:
        while self._error is None:
            try:
                await self._read_on()
            except TooLarge as error:
                self._fail(error)
            except Unavailable as error:
                _log.warning("table view waits for the log", topic=self._topic, reason=str(error))
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
        for record in records:
            self._apply(record)
        self._reached = reader.positions()
        self._moved.set()
        self._pause_seconds = limits.CALL_BACKOFF_SECONDS

    def _apply(self, record: Record) -> None:
        key = record.key or b""
        old = self._values.pop(key, None)
        if old is not None:
            self._size_bytes -= len(key) + len(old)
        if record.value is None:
            return
        self._values[key] = record.value
        self._size_bytes += len(key) + len(record.value)
        if self._size_bytes > self._max_bytes:
            raise TooLarge(
                f"hold the table behind topic {self._topic} in memory",
                f"it is larger than {self._max_bytes} bytes",
                "ask the worker that hosts the table",
            )

    def _fail(self, error: HeadraceError) -> None:
        _log.error("table view stopped", topic=self._topic, reason=str(error))
        self._error = error
        self._values.clear()
        self._moved.set()
