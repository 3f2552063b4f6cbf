"""Starting and ending the objects of aiokafka without leaving connections behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
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
    with suppress(TimeoutError, errors.KafkaError, OSError):
        async with asyncio.timeout(limits.KAFKA_CLOSE_TIMEOUT_SECONDS):
            await end()
