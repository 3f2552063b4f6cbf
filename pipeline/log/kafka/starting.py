"""Starting and ending the objects of aiokafka without leaving connections or late records behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain
from typing import Any

from aiokafka import errors

from pipeline import limits


async def start(part: Any, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> Any:
    """Start an object of aiokafka and return it; if that fails or is cancelled, end it.

    aiokafka loses a connection when it is cancelled while it connects, so it is let finish first.
    """
    starting = asyncio.ensure_future(begin())
    try:
        await asyncio.shield(starting)
    except BaseException:
        await asyncio.wait([starting], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
        if not starting.done():
            starting.cancel()
        await finish(end)
        raise
    return part


async def finish(end: Callable[[], Awaitable[None]]) -> None:
    """End an object of aiokafka; its errors mean nothing any more."""
    ending = asyncio.ensure_future(end())
    # In a task of its own: some of aiokafka's ends raise the cancellation of what they cancelled.
    await asyncio.wait([ending], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    if not ending.done():
        ending.cancel()
        await asyncio.wait([ending], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    with suppress(TimeoutError, errors.KafkaError, OSError):
        if ending.done() and not ending.cancelled():
            ending.result()


async def finish_consumer(consumer: Any) -> None:
    """End a consumer, also one that waits to fetch again, at which aiokafka's own `stop` breaks off."""
    await finish(consumer.stop)
    fetcher = consumer._fetcher  # noqa: SLF001
    fetches = [task for task in fetcher._pending_tasks if not task.done()] if fetcher else []  # noqa: SLF001
    for task in fetches:
        task.cancel()
    if fetches:
        await asyncio.wait(fetches, timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    await finish(consumer._client.close)  # noqa: SLF001


async def abandon(producer: Any) -> None:
    """End a producer at once; what it has not delivered fails and is not sent any more.

    An idempotent producer of aiokafka goes on trying for ever, and its `stop` waits for that. A caller who
    was told of a failure may append again, and what comes late then would overwrite what is newer.
    """
    waiting, sender, sending = producer._message_accumulator, producer._sender, producer._sender.sender_task  # noqa: SLF001
    waiting._pending_batches = _Pending(waiting._pending_batches)  # noqa: SLF001
    batches = [*chain.from_iterable(waiting._batches.values()), *waiting._pending_batches]  # noqa: SLF001
    waiting.fail_all(errors.KafkaConnectionError("given up"))
    for batch in batches:
        _heard(batch.future, batch._drain_waiter)  # noqa: SLF001
    if sending is not None:
        # It ends with an error of its own, about which all were told just now.
        sending.remove_done_callback(sender._fail_all)  # noqa: SLF001
    ending = asyncio.ensure_future(sender.close())
    await asyncio.sleep(0)  # lets it cancel the sender, so that nothing is sent anew
    for connection in list(producer.client._conns.values()):  # noqa: SLF001
        connection.close()
    await asyncio.wait([ending], timeout=limits.KAFKA_CLOSE_TIMEOUT_SECONDS)
    _heard(ending)
    await finish(producer.stop)


class _Pending(set[Any]):
    """Batches on their way, as aiokafka counts them; one that is tried again may be counted off twice."""

    def remove(self, batch: Any) -> None:
        """Count a batch off."""
        self.discard(batch)


def _heard(*futures: asyncio.Future[Any]) -> None:
    """Take note of errors nobody waits for, about which asyncio would complain."""
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()
