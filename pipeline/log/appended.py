"""Counting what is appended to a log, whichever it is (dispatcher contract, section 20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from pipeline import metrics_hub
from pipeline.errors import HeadraceError
from pipeline.log.port import NewRecord, Placed

Append = TypeVar("Append", bound=Callable[..., Awaitable[list[Placed]]])


def counted(append: Append) -> Append:
    """Make a log's `append` count: bytes of keys and values that were written, records that failed."""

    @wraps(append)
    async def appending(log: Any, records: Sequence[NewRecord]) -> list[Placed]:
        try:
            placed = await append(log, records)
        except HeadraceError:
            for topic, count in Counter([record.topic for record in records]).items():
                metrics_hub.PRODUCE_FAILED.labels(topic).inc(count)
            raise
        sizes: dict[str, int] = {}
        for record in records:
            size_bytes = len(record.key or b"") + len(record.value or b"")
            sizes[record.topic] = sizes.get(record.topic, 0) + size_bytes
        for topic, size_bytes in sizes.items():
            metrics_hub.PRODUCED_BYTES.labels(topic).inc(size_bytes)
        return placed

    return cast(Append, appending)
