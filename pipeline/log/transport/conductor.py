"""From the consumer to the streams: whole lists of one partition at a time.

Replaces the callback per message of Faust's conductor through its extension point
`Conductor._build_handler` (faust-notes, section 2).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from faust.exceptions import KeyDecodeError, ValueDecodeError
from faust.transport.conductor import Conductor as FaustConductor
from faust.types import TP

from pipeline.log.port import Record
from pipeline.log.transport.fetched import Fetched
from pipeline.log.transport.intake import Intake
from pipeline.log.transport.recovery import Recovery

MESSAGES = "messages"
"""The reader that stands for all ordinary streams of a partition: their messages count references."""


class Handler:
    """Delivers the records of one partition to every channel that reads it."""

    def __init__(self, conductor: Any, tp: Any, channels: Collection[Any]) -> None:
        self._app = conductor.app
        self._consumer = conductor.app.consumer
        self._tp = tp
        self._channels = channels

    def full(self) -> bool:
        """Whether a channel has enough; ask before fetching more."""
        return any(_full(channel.queue) for channel in self._channels)

    async def deliver(self, fetched: Fetched) -> None:
        """Put all records into the channels; they are never refused."""
        recovery = self._app.tables.recovery
        if isinstance(recovery, Recovery) and self._tp.topic in self._app.tables.changelog_topics:
            recovery.take(fetched, self._consumer)
            return
        plain = []
        for channel in tuple(self._channels):
            if isinstance(channel.queue, Intake):
                self._deliver_records(fetched, channel)
            else:
                plain.append(channel)
        if plain:
            await self._deliver_events(fetched, plain)

    def _deliver_records(self, fetched: Fetched, channel: Any) -> None:
        track = fetched.progress.track(channel)
        fetched.arrive(track)
        records: list[Record] = self._consumer.to_records(fetched.records)
        channel.queue.put(records, fetched.progress, track)
        monitor = self._app.monitor
        monitor.messages_received_total += len(records)
        monitor.events_total += len(records)
        monitor.messages_received_by_topic[self._tp.topic] += len(records)
        monitor.tp_read_offsets[self._tp] = records[-1].offset

    async def _deliver_events(self, fetched: Fetched, channels: list[Any]) -> None:
        if self._app.topics.acks_enabled_for(self._tp.topic):
            fetched.arrive(fetched.progress.track(MESSAGES))
        await self._app.producer.buffer.wait_until_ebb()
        to_message = self._consumer._to_message
        for record in fetched.records:
            if fetched.progress.closed:
                return
            message = to_message(self._tp, record)
            message.refcount = len(channels)
            await self._deliver_event(message, channels)

    async def _deliver_event(self, message: Any, channels: list[Any]) -> None:
        """Decode once for each pair of types and hand the event to every channel."""
        events: dict[Any, Any] = {}
        for index, channel in enumerate(channels):
            types = (channel.key_type, channel.value_type)
            try:
                event = events.get(types)
                if event is None:
                    event = events[types] = await channel.decode(message, propagate=True)
            except (KeyDecodeError, ValueDecodeError) as error:
                # As Faust has it: what does not decode is passed over, and thrown into the stream.
                message.tracked = True
                message.ack(self._consumer, n=len(channels) - index)
                for rest in channels[index:]:
                    await _report(rest, error, message)
                return
            channel.queue.put_nowait_enhanced(
                event, on_pressure_high=self._pressure_high, on_pressure_drop=self._pressure_drop
            )

    def _pressure_high(self) -> None:
        self._app.sensors.on_topic_buffer_full(self._tp)

    def _pressure_drop(self) -> None:
        self._consumer.wake()


def _full(queue: Any) -> bool:
    if isinstance(queue, Intake):
        return queue.full
    return bool(queue.maxsize and queue.qsize() >= queue.pressure_high_size)


async def _report(channel: Any, error: Exception, message: Any) -> None:
    if isinstance(error, KeyDecodeError):
        await channel.on_key_decode_error(error, message)
    else:
        await channel.on_value_decode_error(error, message)


class Conductor(FaustConductor):
    """Faust's conductor with handlers for lists."""

    # Faust waits 45 s to gather changes of the subscription; ours are made before the start.
    _resubscribe_sleep_lock_seconds = 2.0

    def _build_handler(self, tp: TP, channels: Collection[Any]) -> Handler:
        return Handler(self, tp, channels)

    def handler(self, tp: Any) -> Handler | None:
        """Return who delivers a partition; None while the subscription is being changed."""
        if self._tp_to_callback_lock.locked():
            return None
        handlers: dict[Any, Handler] = self._tp_to_callback
        return handlers.get(TP(tp.topic, 0) if self.app.client_only else tp)
