"""The bytes of each archived topic, added up at most once a minute however many people look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from pipeline import limits_archive
from pipeline.archive.figures.totals import bytes_by_topic
from pipeline.clock import Clock
from pipeline.database.engine import Database
from pipeline.errors import Unavailable


class Sizes(NamedTuple):
    """Bytes by topic at a time; None, and why, when they could not be added up."""

    by_topic: Mapping[str, int] | None
    as_of: float
    why: str = ""


class ArchiveBytes:
    """Adds up and remembers; what it failed at is not tried again sooner either.

    Args:
        database: Whose rows.
        clock: Says how old the figures are.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turn = asyncio.Lock()
        self._seen: Sizes | None = None
        self._until = 0.0

    async def by_topic(self) -> Sizes:
        """Give the bytes of all topics, at most `limits_archive.ARCHIVE_BYTES_SECONDS` old."""
        async with self._turn:
            if self._seen is None or self._clock.monotonic() >= self._until:
                self._seen = await self._add_up()
                self._until = self._clock.monotonic() + limits_archive.ARCHIVE_BYTES_SECONDS
            return self._seen

    async def _add_up(self) -> Sizes:
        now = self._clock.unix()
        try:
            return Sizes(await bytes_by_topic(self._database), now)
        except Unavailable as error:
            return Sizes(None, now, str(error))
