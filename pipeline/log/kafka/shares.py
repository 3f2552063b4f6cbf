"""Work divided by a Kafka consumer group: the partitions of a topic are the parts."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, errors

from pipeline import limits
from pipeline.clock import Clock
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka.starting import finish_consumer, start
from pipeline.log.membership import count_rebalance, count_restart
from pipeline.log.shares import Holder

_log = structlog.get_logger(__name__)
_POLL_MS = 1000


class KafkaShares:
    """Membership in a consumer group; implements `pipeline.log.shares.Shares`.

    Nothing is read: the group only divides the partitions. A process that is not heard of for
    `session_seconds` loses its parts to the others.

    Args:
        connection: How to reach Kafka.
        topic: Its partitions are the parts.
        group: Name of the group.
        session_seconds: How long a member may be silent.
        clock: Spaces the tries when Kafka does not answer.
    """

    def __init__(
        self, connection: KafkaConnection, *, topic: str, group: str, session_seconds: float, clock: Clock
    ) -> None:
        self.mine: AbstractSet[int] = frozenset()
        self._connection = connection
        self._topic = topic
        self.group = group
        """Name of the group."""
        self._session_seconds = session_seconds
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self, holder: Holder) -> None:
        """Join the group in the background and stay in it."""
        if self._task is None:
            self._task = asyncio.create_task(self._stay(holder), name=f"member of {self.group}")

    async def close(self) -> None:
        """End the work and leave the group; safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _stay(self, holder: Holder) -> None:
        pause_seconds = limits.CALL_BACKOFF_SECONDS
        while True:
            begun = self._clock.monotonic()
            try:
                await self._be_member(holder)
            except (errors.KafkaError, OSError) as error:
                _log.warning("not a member of the group", group=self.group, reason=str(error))
                count_restart(self.group, error)
            if self._clock.monotonic() - begun > limits.CALL_BACKOFF_MAX_SECONDS:
                pause_seconds = limits.CALL_BACKOFF_SECONDS  # it was a member: this is another trouble
            await self._clock.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)

    async def _be_member(self, holder: Holder) -> None:
        listener = _Listener(self, holder)
        consumer = AIOKafkaConsumer(
            **client_arguments(self._connection),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=int(self._session_seconds * 1000),
            heartbeat_interval_ms=int(self._session_seconds * 1000 / limits.GROUP_HEARTBEATS),
        )
        listener.consumer = consumer
        consumer.subscribe([self._topic], listener=listener)
        try:
            await start(consumer, consumer.start, partial(finish_consumer, consumer))
            while True:  # a member has to ask for records, though its partitions give none
                await consumer.getmany(timeout_ms=_POLL_MS)
        finally:
            await listener.on_partitions_revoked(())
            await finish_consumer(consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, shares: KafkaShares, holder: Holder) -> None:
        self.consumer: Any = None
        self._shares = shares
        self._holder = holder

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Let go of everything before the group is divided anew."""
        del revoked
        self._shares.mine = frozenset()
        await self._holder.lose()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Begin with what was given."""
        count_rebalance(self._shares.group)
        self.consumer.pause(*assigned)
        mine = frozenset(place.partition for place in assigned)
        await self._holder.gain(mine)
        self._shares.mine = mine
