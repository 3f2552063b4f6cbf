"""The stream agents read: batches of raw records, acknowledged only by saying so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from faust.streams import Stream as FaustStream
from faust.types.topics import TopicT

from pipeline import limits
from pipeline.log.transport.batch import Batch
from pipeline.log.transport.intake import Intake


class Stream(FaustStream):
    """A Faust stream over topics that hands out batches.

    Acknowledgement is explicit (`Batch`). An agent that raises is started again by Faust, and is then
    given what it left open before anything new, in the same process. What is open is never committed in
    between. Plain ``async for`` gives the values one at a time and acknowledges each when the agent comes
    back for the next. Processors (`filter`, `group_by`, `through`, `take`) are not for these streams.
    """

    def __init__(self, channel: Any, **kwargs: Any) -> None:
        super().__init__(channel, **kwargs)
        if isinstance(self.channel, TopicT) and not isinstance(self.channel.queue, Intake):
            self.channel._queue = Intake(
                limit_records=limits.STREAM_BUFFER_RECORDS,
                limit_bytes=limits.STREAM_BUFFER_BYTES,
                on_room=self._wake_consumer,
            )

    def _wake_consumer(self) -> None:
        self.app.consumer.wake()

    def batches(self, *, max_records: int = limits.BATCH_RECORDS) -> AsyncIterator[Batch]:
        """Iterate over batches of at most `max_records` records of one partition each.

        A batch is handed out as soon as there is something: small when little comes in, full when the
        agent is the slower one. Ends when the agent is stopped.
        """
        return _Batches(self, max_records)

    async def __aiter__(self) -> AsyncIterator[bytes | None]:
        """Iterate over the values; each is acknowledged when the agent comes back for the next."""
        async for batch in self.batches():
            for record in batch.records:
                yield record.value
                batch.acknowledge_record(record)


class _Batches:
    """Iterator behind `Stream.batches`; an object, so that leaving it needs no clean-up."""

    def __init__(self, stream: Stream, max_records: int) -> None:
        self._stream = stream
        self._intake: Intake = stream.channel.queue
        self._max_records = max_records
        self._begun = False

    def __aiter__(self) -> _Batches:
        return self

    async def __anext__(self) -> Batch:
        if not self._begun:
            self._begun = True
            await self._stream.maybe_start()
            self._intake.hand_again(self._stream)
        # Records may be waiting already: let the other tasks of this process have their turn.
        await asyncio.sleep(0)
        return await self._intake.take(self._max_records, self._stream)
