"""Calls to other systems: each with a time limit, a bounded number of tries and a metric.

`call` is the one way an adapter reaches its server. What may be tried again is said by the adapter, by
turning its library's passing errors into `Unavailable`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from pipeline import limits, metrics
from pipeline.errors import StorageFull, Unavailable

T = TypeVar("T")

# Each retry is counted by a metric, and whoever gives up or waits says why: a line a retry says it twice.
stamina.instrumentation.set_on_retry_hooks(())


async def call(
    part: str,
    name: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    timeout_seconds: float,
    attempts: int = limits.CALL_ATTEMPTS,
) -> T:
    """Run `attempt` until it succeeds, at most `attempts` times, and return its result.

    Each try may take `timeout_seconds`; tries are spaced by exponential back-off with jitter. Only
    `Unavailable` (but not `StorageFull`) and time-outs are tried again; other errors pass at once.

    Raises:
        Unavailable: The last try failed so, or took too long.
    """
    async for tried in stamina.retry_context(
        on=_passing,
        attempts=attempts,
        timeout=None,
        wait_initial=limits.CALL_BACKOFF_SECONDS,
        wait_max=limits.CALL_BACKOFF_MAX_SECONDS,
    ):
        with tried:
            if tried.num > 1:
                metrics.OUTSIDE_RETRIES.labels(part, name).inc()
            return await _once(part, name, attempt, timeout_seconds)
    raise AssertionError("a retry context ends by a result or an error")  # pragma: no cover


async def _once(part: str, name: str, attempt: Callable[[], Awaitable[T]], timeout_seconds: float) -> T:
    started = time.perf_counter()
    result = "error"
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await attempt()
        result = "ok"
    except TimeoutError as error:
        result = "timeout"
        raise Unavailable(
            f"{name} on the {part}",
            f"no answer within {timeout_seconds:g} s",
            "see whether it is up and reachable",
        ) from error
    finally:
        metrics.OUTSIDE_CALLS.labels(part, name, result).observe(time.perf_counter() - started)
    return answer


def _passing(error: Exception) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, StorageFull)
