"""What the archive's commands are told: options, times, uuids, and the archive the settings name."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import BadInput
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.archive.archive import Archive

T = TypeVar("T")

Crc = Annotated[bool, typer.Option("--crc", help="Read the objects too, and compare their bytes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
Topics = Annotated[
    list[str] | None, typer.Option("--topic", metavar="T", help="Only these topics or globs; repeatable.")
]


class SettingsArchive:
    """The archive the settings name, opened for one piece of work at a time (`archive_output.OnArchive`).

    Database and object store are opened, and nothing else: both may be in use by others.

    Args:
        context: Of the command.
        data: Data folder instead of the settings'.
        migrate: Whether opening brings the tables up to date.
    """

    def __init__(self, context: typer.Context, data: Path | None, *, migrate: bool = True) -> None:
        self._settings = settings_of(context, data=str(data) if data else None)
        self._migrate = migrate

    def __call__(self, work: Callable[[Archive], Awaitable[T]]) -> T:
        """Open the archive, run `work` on an event loop, close the archive and return the result."""

        async def run() -> T:
            async with self._opened() as archive:
                return await work(archive)

        return run_loop(run())

    async def settings(self) -> Settings:
        """Give the settings the archive is opened by."""
        return self._settings

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Archive]:
        from pipeline.app import archive_of, make_parts

        parts = make_parts(self._settings)
        try:
            await parts.database.open(migrate=self._migrate)
            await parts.archived.open()
            yield archive_of(parts)
        finally:
            await parts.archived.close()
            await parts.database.close()


def end(code: int) -> None:
    """End the command with that exit code."""
    if code:
        raise typer.Exit(code)


def moment(option: str, text: str | None) -> int | None:
    """Read a time: ms since 1970-01-01 UTC, or ISO 8601, in UTC where it names no zone.

    Raises:
        BadInput: It is neither.
    """
    if text is None or text.isdigit():
        return None if text is None else int(text)
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        why = "neither ms since 1970 nor a time like 2024-03-01T12:00"
        raise BadInput(f"{option} {text}", why) from error
    zoned = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(milliseconds=1)


def uuid_of(option: str, text: str) -> UUID:
    """Read a uuid. Raises `BadInput` when it is none."""
    try:
        return UUID(text)
    except ValueError as error:
        raise BadInput(f"{option} {text}", "it is no uuid") from error
