"""A bounded pool of threads for the blocking work of one store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pipeline.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `count` blocking calls at once; more wait in line.

    Args:
        name: How the threads are called in a stack dump.
        count: Threads at most; they are started when needed.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Be ready for calls; safe to repeat."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)

    async def close(self) -> None:
        """Wait for what runs and let go of the threads; safe to repeat."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    @property
    def is_open(self) -> bool:
        """Whether calls are taken."""
        return self._pool is not None

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start blocking work; what it returns or raises is in the future.

        Raises:
            Unavailable: The pool is not open.
        """
        if self._pool is None:
            raise Unavailable(f"use the {self._name}", "it is not open", "open it first")
        return asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work and return its result; when cancelled, still wait for its end.

        So nothing goes on writing behind the back of a caller that was told it had ended.
        """
        return await ended(self.start(work, *args, **kwargs))


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in the event loop's own pool, with the promise of `Threads.run`."""
    loop = asyncio.get_running_loop()
    return await ended(loop.run_in_executor(None, functools.partial(work, *args, **kwargs)))


async def ended(future: asyncio.Future[T]) -> T:
    """Return the result of work under way; when cancelled, still wait for its end."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await settle(future)
        raise


async def settle(*futures: asyncio.Future[T]) -> None:
    """Wait until all are done, however often the waiting task is cancelled; what they raised is dropped.

    Raises:
        CancelledError: The waiting task was cancelled, after all are done.
    """
    cancelled: asyncio.CancelledError | None = None
    pending = set(futures)
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for future in futures:
        if not future.cancelled():
            future.exception()  # marks it as seen
    if cancelled is not None:
        raise cancelled
