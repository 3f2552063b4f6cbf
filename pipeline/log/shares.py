"""Divided work: which parts of it are this process's, while others of its group have the rest.

With the embedded log there is one process, which has everything (`AllShares`). On Kafka the partitions of
a topic are the parts and the group coordinator divides them (`pipeline.log.kafka.shares`): no part is
given to a process before the one that had it has let go or was declared dead.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol


class Holder(Protocol):
    """Who does the work."""

    async def gain(self, shares: AbstractSet[int]) -> None:
        """Begin with these parts; nobody else works on them. Until `lose`, they are all it has."""

    async def lose(self) -> None:
        """End the work on all parts; when this returns, others may begin. Safe to repeat."""


class Shares(Protocol):
    """A process's membership in the group that divides the work."""

    @property
    def mine(self) -> AbstractSet[int]:
        """The parts this process has now."""

    def start(self, holder: Holder) -> None:
        """Join the group, in the background; parts come and go through the holder until `close`."""

    async def close(self) -> None:
        """End the work and leave the group; safe to repeat."""


class AllShares:
    """Everything belongs to this process.

    Args:
        count: Number of parts.
    """

    def __init__(self, count: int) -> None:
        self.mine: AbstractSet[int] = frozenset(range(count))

    def start(self, holder: Holder) -> None:
        """Nothing has to be divided."""

    async def close(self) -> None:
        """Nothing is given back."""
