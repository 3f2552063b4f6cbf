"""The bell: wakes whoever waits for records of some partitions, on whatever event loop they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from pipeline.log.port import TopicPartition

Loop = asyncio.AbstractEventLoop


class Bell:
    """Waiters by event loop and partition.

    The table of a loop is only touched by that loop. A waiter enters itself before it looks, so a record
    that becomes durable in between still wakes it.
    """

    def __init__(self) -> None:
        self._tables: dict[Loop, dict[TopicPartition, set[asyncio.Future[None]]]] = {}

    async def wait(
        self, partitions: Iterable[TopicPartition], ready: Callable[[], bool], timeout_seconds: float
    ) -> bool:
        """Wait until `ready` holds, looking whenever one of the partitions rings; False on time-out."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        table = self._tables.setdefault(loop, {})
        places = list(partitions)
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            for place in places:
                table.setdefault(place, set()).add(waiter)
            try:
                if ready():
                    return True
                left_seconds = deadline - loop.time()
                if left_seconds <= 0:
                    return False
                await asyncio.wait([waiter], timeout=left_seconds)
            finally:
                _leave(table, places, waiter)

    def loops(self) -> list[Loop]:
        """Return the event loops somebody waited on."""
        return list(self._tables)

    def ring_here(self, loop: Loop, partitions: Iterable[TopicPartition] | None) -> None:
        """Wake the waiters of the loop this runs on; None wakes all of them."""
        table = self._tables.get(loop)
        if not table:
            return
        for place in list(table) if partitions is None else partitions:
            for waiter in table.get(place, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def forget(self, loop: Loop) -> None:
        """Drop an event loop that was closed."""
        self._tables.pop(loop, None)


def _leave(
    table: Mapping[TopicPartition, set[asyncio.Future[None]]],
    places: Iterable[TopicPartition],
    waiter: asyncio.Future[None],
) -> None:
    for place in places:
        table[place].discard(waiter)
