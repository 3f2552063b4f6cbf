"""Older versions of objects, which a bucket keeps when its owner switched versioning on.

Only S3 has them. Elsewhere, and in buckets without versioning, every object is its only version.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, runtime_checkable

from pipeline.objects.port import ObjectStore, Stat


class Versions(NamedTuple):
    """A key, its present object, None when only older versions are left, and how many it has had."""

    key: str
    stat: Stat | None
    number: int


@runtime_checkable
class Versioned(Protocol):
    """A store that may keep older versions."""

    def versions(self, prefix: str = "") -> AsyncIterator[Versions]:
        """Yield every key that starts with the prefix, also those that have only older versions."""

    async def erase(self, key: str) -> None:
        """Remove an object with all its versions; harmless when there is none."""


async def erase(store: ObjectStore, key: str) -> None:
    """Remove an object with whatever versions the store keeps of it; harmless when there is none."""
    if isinstance(store, Versioned):
        await store.erase(key)
    else:
        await store.delete(key)


async def list_versions(store: ObjectStore, prefix: str) -> AsyncIterator[Versions]:
    """Yield every key that starts with the prefix, with the number of its versions."""
    if isinstance(store, Versioned):
        async for found in store.versions(prefix):
            yield found
    else:
        async for stat in store.list(prefix):
            yield Versions(stat.key, stat, 1)
