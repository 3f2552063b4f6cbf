"""Membership in a group of Kafka: counted, and tried again while Kafka is away."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest

from pipeline import metrics
from pipeline.clock import SystemClock
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.kafka.shares import KafkaShares
from pipeline.log.port import TopicSpec
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


class _Everybody:
    def __init__(self) -> None:
        self.gained: set[int] = set()

    async def gain(self, shares: AbstractSet[int]) -> None:
        self.gained |= shares

    async def lose(self) -> None:
        self.gained.clear()


@pytest.mark.kafka
async def test_a_member_that_is_given_its_part_is_counted(kafka_address: str, unique: str) -> None:
    connection = KafkaConnection(bootstrap_servers=(kafka_address,))
    log = KafkaLog(connection)
    await log.open()
    await log.create_topics([TopicSpec(unique, 3)])
    await log.close()
    group = f"{unique}-headrace-hub"
    shares = KafkaShares(connection, topic=unique, group=group, session_seconds=10.0, clock=SystemClock())
    everybody = _Everybody()

    async def all_gained() -> bool:
        return everybody.gained == {0, 1, 2}

    shares.start(everybody)
    try:
        await until(all_gained)
    finally:
        await shares.close()
    labels = {"name": "hub", "group": group}
    assert metrics.PLAIN.get_sample_value("dispatcher_kafka_rebalance_count_total", labels) == 1
