"""The log alone: for commands that work on topics and must not start what else there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.app import Parts, make_parts
from pipeline.settings import Settings


@asynccontextmanager
async def log_alone(settings: Settings) -> AsyncIterator[Parts]:
    """Make the parts and open only their log; topics stay as they are.

    Raises:
        Unavailable: The log cannot be reached.
        Conflict: Another process has the folder of the embedded log.
    """
    parts = make_parts(settings)
    await parts.log.open()
    try:
        yield parts
    finally:
        await parts.log.close()
