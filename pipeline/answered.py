"""Which events were answered already: for an agent whose answers may stand on the log unacknowledged.

An agent publishes first and acknowledges after, so a worker that dies or gives up its partitions in between
leaves answers to records that come again. They are looked up at the end of the topics they went to, once
for every time partitions were given to this worker: whoever had the partitions before may have written
until then. So a repeat is left out instead of published again. What lies further back than
`limits.ANSWERS_LOOKED_BACK` is not seen, and is repeated under the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pipeline import limits
from pipeline.app import Parts
from pipeline.events.records import Address
from pipeline.log.port import NewRecord, Record, TopicPartition
from pipeline.processing import patiently, publish

Times = dict[bytes | None, int]
"""The time of the newest record of each key, in unix milliseconds."""


class Answered:
    """The newest answers of one agent, by topic and key.

    Args:
        parts: Opened parts.
        agent: Whose answers they are.
        generation: Gives a number that changes whenever partitions are given to this worker.
    """

    def __init__(self, parts: Parts, agent: str, generation: Callable[[], int]) -> None:
        self._parts = parts
        self._agent = agent
        self._generation = generation
        self._looked_up_in: int | None = None
        self._times: dict[str, Times] = {}
        self._turn = asyncio.Lock()
        self._underway: dict[Address, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def alone(self, answer: Address) -> AsyncIterator[None]:
        """Hold off others that are about to give the same answer: a record may come again meanwhile."""
        while (other := self._underway.get(answer)) is not None:
            await other
        mine = self._underway[answer] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._underway[answer]
            mine.set_result(None)

    async def has(self, answer: Address, to: Record) -> bool:
        """Tell whether an answer at this address followed the record."""
        async with self._turn:
            generation = self._generation()
            if generation != self._looked_up_in:
                self._times.clear()
                self._looked_up_in = generation
            times = self._times.get(answer.topic)
            if times is None:
                times = await patiently(self._agent, lambda: self._newest(answer.topic))
                self._times[answer.topic] = times
        return times.get(answer.key, -1) >= to.timestamp_ms

    async def publish(self, answer: NewRecord) -> None:
        """Append an answer, waiting out a log that is down; durable when it returns."""
        await publish(self._parts, self._agent, [answer])
        times = self._times.get(answer.topic)
        if times is not None:
            times[answer.key] = int(self._parts.clock.unix() * 1000)
            if len(times) > 2 * limits.ANSWERS_LOOKED_BACK:
                del times[next(iter(times))]

    async def _newest(self, topic: str) -> Times:
        """Return the time of the newest record of each key near the end of a topic."""
        log = self._parts.log
        count = (await log.topics()).get(topic, 0)
        bounds = await log.bounds([TopicPartition(topic, number) for number in range(count)])
        ends = {place: there.end for place, there in bounds.items() if there.end > there.start}
        if not ends:
            return {}
        share = -(-limits.ANSWERS_LOOKED_BACK // count)
        times: Times = {}
        reader = log.reader({place: max(end - share, bounds[place].start) for place, end in ends.items()})
        try:
            while any(reader.positions()[place] < end for place, end in ends.items()):
                for record in await reader.read(
                    max_records=limits.ANSWERS_LOOKED_BACK, wait_seconds=limits.FETCH_WAIT_SECONDS
                ):
                    times[record.key] = max(times.get(record.key, -1), record.timestamp_ms)
        finally:
            await reader.close()
        return times
