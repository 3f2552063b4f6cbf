"""Reading old records of a partition, in pieces that follow each other."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

import structlog

from pipeline import limits
from pipeline.errors import Unavailable
from pipeline.log.port import Log, Reader, Record, TopicPartition

_log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """Records between two offsets, and the offset up to which there are no others."""

    records: list[Record]
    next: int


class _Run:
    """A reader of one partition, and what it gave beyond what was asked for."""

    def __init__(self, reader: Reader, offset: int) -> None:
        self.reader = reader
        self.next = offset
        self.ahead: deque[Record] = deque()


class Histories:
    """Reads pieces of partitions; a reader that stands where a piece begins is used again.

    Args:
        log: An open log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._runs: OrderedDict[tuple[TopicPartition, int], _Run] = OrderedDict()

    async def close(self) -> None:
        """Close all readers; safe to repeat."""
        runs, self._runs = self._runs, OrderedDict()
        for run in runs.values():
            await run.reader.close()

    async def read(self, place: TopicPartition, start: int, stop: int) -> Found:
        """Return the records from `start` up to `stop`, or fewer when they are large.

        `stop` must not lie beyond the end of the partition. When there is nothing before it, the piece
        reaches to the next record there is, so that gaps cost nothing.

        Raises:
            Unavailable: The log does not answer.
        """
        run = self._runs.pop((place, start), None) or _Run(self._log.reader({place: start}), start)
        try:
            found = await self._read(run, place, stop)
        except BaseException:
            await run.reader.close()
            raise
        ended = self._runs.pop((place, found.next), None)
        if ended is not None:  # what it had read was let go and read again
            await ended.reader.close()
        self._runs[place, found.next] = run
        while len(self._runs) > limits.HUB_READERS_MAX:
            _, oldest = self._runs.popitem(last=False)
            await oldest.reader.close()
        return found

    async def _read(self, run: _Run, place: TopicPartition, stop: int) -> Found:
        records: list[Record] = []
        size_bytes = 0
        while run.next < stop and size_bytes < limits.HUB_CHUNK_BYTES:
            if not run.ahead and not await self._read_on(run, place, stop):
                run.next = stop
                break
            record = run.ahead[0]
            if record.offset >= stop:
                run.next = stop if records else record.offset - record.offset % limits.HUB_CHUNK_RECORDS
                run.next = max(run.next, stop)
                break
            records.append(run.ahead.popleft())
            size_bytes += len(record.value or b"")
            run.next = record.offset + 1
        return Found(records, run.next)

    async def _read_on(self, run: _Run, place: TopicPartition, stop: int) -> bool:
        """Read further; False when there is nothing any more before `stop`."""
        for _ in range(limits.HUB_READ_TRIES):
            run.ahead.extend(
                await run.reader.read(
                    max_records=max(stop - run.next, 1), wait_seconds=limits.FETCH_WAIT_SECONDS
                )
            )
            if run.ahead:
                return True
            if (
                run.reader.positions()[place] >= stop
                or (await self._log.bounds([place]))[place].start >= stop
            ):
                return False
        if (await self._log.bounds([place]))[place].end < stop:
            where = f"{place.topic}[{place.partition}]"
            _log.warning("a topic was made anew: what was there is passed over", place=where)
            return False
        raise Unavailable(
            f"read {place.topic}[{place.partition}] from {run.next} to {stop}",
            f"nothing came in {limits.HUB_READ_TRIES * limits.FETCH_WAIT_SECONDS:g} s",
            "try again",
        )
