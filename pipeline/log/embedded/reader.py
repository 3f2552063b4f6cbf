"""A reader of the embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pipeline import limits
from pipeline.log.embedded.engine import Engine
from pipeline.log.port import Record, TopicPartition


class EmbeddedReader:
    """Positions in some partitions; implements `pipeline.log.port.Reader`. Partitions take turns."""

    def __init__(self, engine: Engine, positions: Mapping[TopicPartition, int]) -> None:
        self._engine = engine
        self._positions = {TopicPartition(*place): offset for place, offset in positions.items()}

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be read of each partition."""
        return dict(self._positions)

    async def read(self, *, max_records: int, wait_seconds: float) -> list[Record]:
        """Return the next records, waiting at most `wait_seconds` for the first one.

        Raises:
            Damaged: What is on disk is not what was written; the position stays before it.
            Unavailable: The log was closed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            records = await self._take(max_records)
            left_seconds = deadline - loop.time()
            if records or not await self._engine.wait(self._positions, max(left_seconds, 0)):
                return records

    async def _take(self, max_records: int) -> list[Record]:
        taken: list[Record] = []
        left_bytes = limits.LOG_READ_MAX_BYTES
        for place in list(self._positions):
            offset = self._positions[place]
            if len(taken) >= max_records or left_bytes <= 0:
                break
            found = await self._engine.fetch(place, offset, max_records - len(taken), left_bytes)
            if found.records:
                # To the end of the order, so that a busy partition does not starve the others.
                del self._positions[place]
                left_bytes -= sum(len(record.value or b"") for record in found.records)
            self._positions[place] = found.next
            taken += found.records
        return taken

    async def close(self) -> None:
        """Give up the positions; safe to repeat."""
        self._positions = {}
