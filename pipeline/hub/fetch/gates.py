"""What events have to pass besides a consumer's filter: what needs the log, or all of an event, to be told.

Contract: dispatcher section 12, steps 4 (``filter``), 6 and 7; section 13.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache

from pipeline import limits
from pipeline.hub.expression import Expression
from pipeline.hub.fetch.taking import Taken
from pipeline.hub.wanted import Wanted

Held = Mapping[int, str]
"""Which events are held back, by their place in the list, with the count each goes under; "" counts not."""


class Gate(ABC):
    """One of the things events have to pass."""

    step: str
    """What its time and failures are counted under."""

    @abstractmethod
    async def held(self, wanted: Wanted, taken: Sequence[Taken]) -> Held:
        """Say which of some events their consumer does not receive.

        Raises:
            Unavailable: The log does not answer; the events are offered again.
        """

    async def done(self, wanted: Wanted, passed: Sequence[Taken]) -> None:
        """Hear of events that passed here and do not come again: received, or held back by a later gate.

        Not told of what goes out again because its answer did not reach its client. Raises nothing.
        """
        del wanted, passed

    async def close(self) -> None:
        """Let go of what it follows; safe to repeat."""
        return


class EndedTasks(Gate):
    """Holds back retries of tasks that were ended meanwhile, by a late answer or by a person.

    Args:
        in_flight: Says whether the task of a try is still in flight, waiting for just that retry.
    """

    step = "EndedTasks"

    def __init__(self, in_flight: Callable[[str], Awaitable[bool]]) -> None:
        self._in_flight = in_flight

    async def held(self, wanted: Wanted, taken: Sequence[Taken]) -> Held:
        """Say which retries nobody needs any more."""
        del wanted
        return {index: "" for index, each in enumerate(taken) if each.retry and not await self._waits(each)}

    async def _waits(self, taken: Taken) -> bool:
        """Say whether the task waits for the retry: under the id of the try before, or of one not received.

        That one may not be noted yet; when it is, it takes the place of the other, so it is asked for last.
        """
        return await self._in_flight(taken.glance.dequeued) or (
            taken.dequeued != "" and await self._in_flight(taken.dequeued)
        )


class Expressions(Gate):
    """Holds back what the expression of a request does not match."""

    step = "FilterExpression"

    async def held(self, wanted: Wanted, taken: Sequence[Taken]) -> Held:
        """Say which events do not match; retries have matched before."""
        if not wanted.filter:
            return {}
        return await asyncio.to_thread(_unmatched, _compiled(wanted.filter), taken)


@lru_cache(maxsize=limits.FILTER_EXPRESSIONS_KEPT)
def _compiled(text: str) -> Expression:
    """Compile an expression, once for all requests that bring it."""
    return Expression(text)


def _unmatched(expression: Expression, taken: Sequence[Taken]) -> Held:
    judged = {index: expression.judge(each.value) for index, each in enumerate(taken) if not each.retry}
    return {index: reason for index, reason in judged.items() if reason is not None}
