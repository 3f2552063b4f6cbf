"""A Faust table that holds typed records: text keys, msgspec structs as values.

The Faust table underneath holds raw bytes, so its changelog is plain JSON that any reader of the topic
understands, and its memory is the encoded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from pipeline.log.transport.app import App
from pipeline.log.transport.table import Table

V = TypeVar("V", bound=msgspec.Struct)


class TypedTable(Generic[V]):
    """A view of a table of an app as text → struct.

    Only agents of the app write to it, naming the partition of the record that causes the write.

    Args:
        app: The app that owns the table.
        name: Its name, which also names its changelog.
        kind: The struct its values decode into.
    """

    def __init__(self, app: App, name: str, kind: type[V]) -> None:
        self._table: Table = app.Table(name)
        self._decoder = msgspec.json.Decoder(kind)

    def get(self, key: str) -> V | None:
        """Return the record of a key, None when there is none."""
        value = self._table.get(key.encode())
        return None if value is None else self._decoder.decode(value)

    def put(self, key: str, record: V, *, partition: int) -> None:
        """Set the record of a key.

        Raises:
            Conflict: The partition is not this process's any more; whoever has it sees the record again.
        """
        self._table.put(key.encode(), msgspec.json.encode(record), partition=partition)

    def remove(self, key: str, *, partition: int) -> None:
        """Forget a key; harmless when it is unknown. Raises as `put`."""
        self._table.drop(key.encode(), partition=partition)

    async def flushed(self) -> None:
        """Return when every change made so far is durable in the changelog."""
        await self._table.flushed()

    def records(self) -> Iterator[V]:
        """Go through all records, in no promised order. For recovery, not for timers."""
        for value in list(self._table.values()):
            yield self._decoder.decode(value)

    def on_recover(self, action: Any) -> None:
        """Have `action` called each time the table was recovered."""
        self._table.on_recover(action)

    def __len__(self) -> int:
        return len(self._table)
