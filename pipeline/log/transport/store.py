"""The in-memory store of a table: values by key, and the partition each key belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from faust.stores.memory import Store as FaustStore

from pipeline.log.port import Record


class Store(FaustStore):
    """Faust's memory store that never shows rows of a partition this process does not have.

    Faust's own forgets which partition a row belongs to unless it was recovered, so rows of a lost
    partition stay and come back to life when it returns.
    """

    def place(self, key: Any, partition: int) -> None:
        """Note the partition of a row."""
        self._key_partition[key] = partition

    def displace(self, key: Any) -> None:
        """Forget the partition of a row that is removed."""
        self._key_partition.pop(key, None)

    def keys_of(self, partition: int) -> Iterator[Any]:
        """Give the keys of one partition."""
        return (key for key, its in list(self._key_partition.items()) if its == partition)

    def apply(self, records: Iterable[Record]) -> None:
        """Apply changelog records in order; one without a value removes the row."""
        data, partitions = self.data, self._key_partition
        for record in records:
            key = record.key
            if record.value is None:
                data.pop(key, None)
                partitions.pop(key, None)
            else:
                data[key] = record.value
                partitions[key] = record.partition

    async def on_rebalance(
        self,
        assigned: set[Any],
        revoked: set[Any],
        newly_assigned: set[Any],
        generation_id: int = 0,
    ) -> None:
        """Forget rows of partitions that were lost, and of new ones before they are recovered."""
        changelog = self.table.changelog_topic_name
        self._forget({tp.partition for tp in revoked | newly_assigned if tp.topic == changelog})

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        """Forget rows of every partition that is not ours."""
        ours = {tp.partition for tp in active_tps}
        self._forget({partition for partition in self._key_partition.values() if partition not in ours})

    def _forget(self, partitions: set[int]) -> None:
        for key in [key for key, partition in self._key_partition.items() if partition in partitions]:
            self.data.pop(key, None)
            self._key_partition.pop(key, None)
