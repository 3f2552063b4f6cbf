"""Membership in a group of a Kafka that is away: tried again, and counted."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from pipeline import metrics
from pipeline.clock import SystemClock
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka.shares import KafkaShares
from tests.agents.installation import until


class _Nobody:
    async def gain(self, shares: AbstractSet[int]) -> None:
        raise AssertionError(f"there is nobody who could give {shares}")

    async def lose(self) -> None:
        pass


async def test_a_member_that_cannot_reach_kafka_starts_again_and_is_counted() -> None:
    group = "away-headrace-hub"
    labels = {"name": "hub", "group": group, "kerrorCode": "KafkaConnectionError"}
    shares = KafkaShares(
        KafkaConnection(bootstrap_servers=("127.0.0.1:1",)),
        topic="azul.away.system.hub",
        group=group,
        session_seconds=10.0,
        clock=SystemClock(),
    )

    async def twice() -> bool:
        name = "dispatcher_kafka_consumer_restart_count_total"
        return (metrics.PLAIN.get_sample_value(name, labels) or 0) >= 2

    shares.start(_Nobody())
    try:
        await until(twice)
    finally:
        await shares.close()
    assert shares.mine == frozenset()
