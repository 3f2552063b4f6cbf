"""Tables whose writes go to the changelog together, and which say when these are durable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faust.tables.table import Table as FaustTable
from faust.types import TP
from yarl import URL

from pipeline import limits
from pipeline.errors import Conflict
from pipeline.log.port import NewRecord, Placed
from pipeline.log.transport.store import Store


class Table(FaustTable):
    """A table of bytes under bytes, rebuilt from its changelog.

    Writes are visible at once and collected per turn of the event loop. An agent acknowledges its input
    only after `flushed`. Writes name the partition of the record that caused them, so they are as valid in
    a task beside the stream as within it. Only the process that has the partition may write to it, and
    nobody during a rebalance: a late writer could otherwise undo what the next owner wrote.
    """

    def __init__(self, app: Any, **kwargs: Any) -> None:
        # Kafka takes 1 MiB unless told otherwise; a row may be as large as an event.
        config = {"max.message.bytes": str(limits.KAFKA_MESSAGE_MAX_BYTES)}
        defaults = {"key_type": bytes, "value_type": bytes, "extra_topic_configs": config}
        super().__init__(app, **{**defaults, **kwargs})
        self._places: dict[int, Any] = {}

    def put(self, key: bytes, value: bytes, *, partition: int) -> None:
        """Set a row.

        Raises:
            Conflict: The partition is not this process's, or no longer: the record that caused the write
                comes again to whoever has it (`Batch.current` is then False).
            TooLarge: Key and value are above the limit for one record.
            Unavailable: Too many writes wait for the log already.
        """
        self._collect(key, value, partition)
        self.data.place(key, partition)
        self.data[key] = value

    def drop(self, key: bytes, *, partition: int) -> None:
        """Remove a row; nothing is written when there is none. Raises as `put`."""
        if key not in self.data:
            return
        self._collect(key, None, partition)
        del self.data[key]
        self.data.displace(key)

    async def flushed(self) -> None:
        """Return when every write so far, to any table of the app, is durable.

        While the log cannot be reached this waits. Raises `HeadraceError` when the log refused a write for
        good; the app is stopping then.
        """
        await self.app.producer.collected()

    def keys_of(self, partition: int) -> Iterator[bytes]:
        """Give the keys of one partition, for what is kept beside the table (see `on_recover`)."""
        return iter(self.data.keys_of(partition))

    # What ``table[key] = value`` and ``del table[key]`` call; these take the partition from the event in
    # work or, with ``use_partitioner``, from the key.

    def on_key_set(self, key: bytes, value: bytes) -> None:
        """Collect the write of a row."""
        partition = self._partition(key)
        self._collect(key, value, partition)
        self.data.place(key, partition)

    def on_key_del(self, key: bytes) -> None:
        """Collect the removal of a row."""
        self._collect(key, None, self._partition(key))
        self.data.displace(key)

    def send_changelog(self, partition: int | None, key: bytes, value: bytes | None, *_: Any) -> None:
        """Collect a write to the changelog (Faust's name for it)."""
        self._collect(key, value, self._partition(key) if partition is None else partition)

    def _partition(self, key: bytes) -> int:
        partition = self.partition_for_key(key)
        if partition is None:
            partition = self.app.producer.key_partition(self.changelog_topic_name, key).partition
        return int(partition)

    def _collect(self, key: bytes, value: bytes | None, partition: int) -> None:
        place = self._places.get(partition)
        if place is None:
            place = self._places[partition] = TP(self.changelog_topic_name, partition)
        if self.app.rebalancing or not self.app.assignor.is_active(place):
            raise Conflict(
                f"write to table {self.name}",
                f"partition {partition} is not this process's at the moment",
                "leave it to the process that has it",
            )
        record = NewRecord(place.topic, key, value, partition=partition)
        self.app.producer.collect(record, self._confirm)

    def _confirm(self, place: Placed) -> None:
        self.data.set_persisted_offset(TP(place.topic, place.partition), place.offset)

    def _new_store_by_url(self, url: str | URL) -> Any:
        if URL(url).scheme != "memory":
            return super()._new_store_by_url(url)
        return Store(
            url,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            options=self.options,
        )
