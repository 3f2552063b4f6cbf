"""The tables of agent `track` as the web surface follows them: through their changelogs, read-only.

A table exists once its agent has run. Until then it is empty here, which the remarks say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self, TypeVar

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import Damaged, HeadraceError, NotFound, TooLarge, Unavailable
from pipeline.events.parked import ParkedEntry
from pipeline.hub.changelogs import IN_FLIGHT, PARKED, PLUGINS, TABLES, changelog_topic
from pipeline.hub.tasks import Task
from pipeline.log.view import TableView

S = TypeVar("S", bound=msgspec.Struct)

_INLINE = 500
"""Rows decoded on the event loop; more go to a thread."""


class Entry(NamedTuple):
    """One row of a table."""

    table: str
    key: str
    value: msgspec.Raw


class Tables:
    """The tables, kept up to date while the context is entered.

    Args:
        parts: Opened parts.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._views: dict[str, TableView] = {}
        self._opening = asyncio.Lock()
        self._problem = ""

    async def __aenter__(self) -> Self:
        """Start to follow the tables there are; those that come later are found by `refresh`."""
        await self.try_refresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        views, self._views = self._views, {}
        for view in views.values():
            await view.close()

    async def refresh(self) -> None:
        """Wait until everything is here that is durable now.

        Raises:
            Unavailable: The log does not answer in time, or a table is too large to be followed.
        """
        async with self._opening:
            await self._open_missing()
        try:
            waiting = (view.caught_up(limits.PROBE_SECONDS) for view in list(self._views.values()))
            await asyncio.gather(*waiting)
        except TooLarge as error:
            raise Unavailable(error.tried, error.why, error.todo) from error

    async def try_refresh(self) -> None:
        """Do what `refresh` does; when it cannot be done, `remarks` says why."""
        self._problem = ""
        try:
            async with asyncio.timeout(limits.PROBE_SECONDS):
                await self.refresh()
        except HeadraceError as error:
            self._problem = str(error)
        except TimeoutError:
            self._problem = f"the log did not answer within {limits.PROBE_SECONDS:g} s"

    async def _open_missing(self) -> None:
        for table in TABLES:
            if table not in self._views:
                view = TableView(
                    self._parts.log,
                    changelog_topic(self._parts.settings.events.prefix, table),
                    clock=self._parts.clock,
                )
                try:
                    await view.open()
                except NotFound:
                    continue  # its agent has not run yet
                self._views[table] = view

    def remarks(self) -> list[str]:
        """Say what of the tables cannot be shown, and why."""
        missing = [table for table in TABLES if table not in self._views]
        remarks = [self._problem] if self._problem else []
        if missing and not self._problem:
            remarks.append(f"agent track has not run here yet: no tables {', '.join(missing)}")
        return remarks

    async def tasks(self) -> list[Task]:
        """Return every task in flight."""
        return await self._all(IN_FLIGHT, Task)

    async def task(self, dequeued: str) -> Task | None:
        """Return the task one of whose tries has this id."""
        found = self._one(IN_FLIGHT, dequeued, Task)
        if found is not None:
            return found
        return next((task for task in await self.tasks() if dequeued in task.earlier), None)

    async def parked(self) -> list[ParkedEntry]:
        """Return every parked entry."""
        return await self._all(PARKED, ParkedEntry)

    def entry(self, name: str) -> ParkedEntry | None:
        """Return a parked entry by its id."""
        return self._one(PARKED, name, ParkedEntry)

    def plugins(self) -> list[str]:
        """Return the keys of the registered plugins, ``name.version``."""
        return [key.decode(errors="replace") for key, _ in self._items(PLUGINS)]

    def mentioning(self, texts: Sequence[str]) -> list[Entry]:
        """Return the rows of all tables in whose key or value one of the texts stands."""
        needles = [text.encode() for text in texts]
        return [
            Entry(table, key.decode(errors="replace"), msgspec.Raw(value))
            for table in TABLES
            for key, value in self._items(table)
            if any(needle in key or needle in value for needle in needles)
        ]

    def _items(self, table: str) -> list[tuple[bytes, bytes]]:
        view = self._views.get(table)
        try:
            return [] if view is None else list(view.items())
        except TooLarge:
            return []  # `remarks` says so

    def _one(self, table: str, key: str, kind: type[S]) -> S | None:
        view = self._views.get(table)
        value = None if view is None else view.get(key.encode())
        return None if value is None else _decode([value], kind)[0]

    async def _all(self, table: str, kind: type[S]) -> list[S]:
        values = [value for _, value in self._items(table)]
        if len(values) <= _INLINE:
            return _decode(values, kind)
        return await asyncio.to_thread(_decode, values, kind)


def _decode(values: Iterable[bytes], kind: type[S]) -> list[S]:
    decoder = msgspec.json.Decoder(kind)
    try:
        return [decoder.decode(value) for value in values]
    except msgspec.DecodeError as error:
        raise Damaged(f"read a table of {kind.__name__}", str(error)) from error
