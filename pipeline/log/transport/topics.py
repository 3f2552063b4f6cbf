"""The topics of the embedded log as Faust asks for them: at once, and with its own words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mode.utils.times import want_seconds

from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.partitioner import partition_for
from pipeline.log.port import TopicSpec


class Topics:
    """Partition counts by topic. Answers Faust's assignor too, which takes it for a Kafka cluster.

    Topics are never removed; those that grow do so at start, before anybody reads them here.
    """

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._counts: dict[str, int] = {}
        self._turn = 0

    async def refresh(self) -> None:
        """Learn of topics others created."""
        self._counts = await self._log.topics()

    async def ensure(self, names: Iterable[str], partitions: int) -> None:
        """Create those that do not exist, as a Kafka broker does for an unknown topic."""
        await self.refresh()
        missing = [name for name in names if name not in self._counts]
        if missing:
            await self._log.create_topics([TopicSpec(name, partitions) for name in missing])
            await self.refresh()

    async def create(
        self,
        name: str,
        partitions: int,
        replication: int,
        *,
        config: dict[str, Any] | None = None,
        retention: Any = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        **_: Any,
    ) -> None:
        """Create a topic unless it exists (the signature is Faust's)."""
        values = {key: str(value) for key, value in (config or {}).items()}
        policies = [word for word, wanted in (("compact", compacting), ("delete", deleting)) if wanted]
        if policies:
            values.setdefault("cleanup.policy", ",".join(policies))
        if retention:
            values.setdefault("retention.ms", str(round(want_seconds(retention) * 1000)))
        await self._log.create_topics([TopicSpec(name, partitions, max(replication, 1), values)])
        await self.refresh()

    def partitions(self, name: str) -> int | None:
        """Return how many partitions a topic has; None when it is not there."""
        return self._counts.get(name)

    def partitions_for_topic(self, name: str) -> set[int]:
        """Return the numbers of the partitions of a topic (asked by the assignor)."""
        return set(range(self._counts.get(name, 0)))

    def choose(self, name: str, key: bytes | None) -> int | None:
        """Return the partition of a key; without a key each call gives the next one."""
        count = self._counts.get(name)
        if count is None:
            return None
        if key is not None:
            return partition_for(key, count)
        self._turn += 1
        return self._turn % count
