"""A table as others see it: a compacted topic, followed into memory."""

from __future__ import annotations

from collections.abc import ItemsView

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import TooLarge
from pipeline.log.follower import Follower
from pipeline.log.port import Log, Record


class TableView(Follower):
    """The newest value of each key of a topic, kept up to date in the background; read-only.

    Keys and values are those of the topic, as bytes; a tombstone removes its key.

    Args:
        log: An open log.
        topic: The changelog; all its partitions are followed.
        clock: Spaces the tries when the log does not answer.
        max_bytes: Keys and values held at most. A table that outgrows this is not shown at all, since
            half a table would be a wrong one: every use raises `TooLarge` then.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        *,
        clock: Clock | None = None,
        max_bytes: int = limits.TABLE_VIEW_MAX_BYTES,
    ) -> None:
        super().__init__(log, topic, clock)
        self._max_bytes = max_bytes
        self._values: dict[bytes, bytes] = {}
        self._size_bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None when it has none."""
        self.check()
        return self._values.get(key)

    def items(self) -> ItemsView[bytes, bytes]:
        """Return all keys and values; they change while the caller awaits something."""
        self.check()
        return self._values.items()

    def __len__(self) -> int:
        """Count the keys."""
        self.check()
        return len(self._values)

    def take(self, record: Record) -> None:
        """Set or remove the key of a record.

        Raises:
            TooLarge: The table outgrew the view.
        """
        key = record.key or b""
        old = self._values.pop(key, None)
        if old is not None:
            self._size_bytes -= len(key) + len(old)
        if record.value is None:
            return
        self._values[key] = record.value
        self._size_bytes += len(key) + len(record.value)
        if self._size_bytes > self._max_bytes:
            raise TooLarge(
                f"hold the table behind topic {self.topic} in memory",
                f"it is larger than {self._max_bytes} bytes",
                "ask the worker that hosts the table",
            )

    def forget(self) -> None:
        """Let go of everything."""
        self._values.clear()
