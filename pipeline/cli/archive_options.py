"""What the archive's commands are told: options, times, uuids, and the archive the settings name."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
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


class Layout(StrEnum):
    """How messages lie in the store."""

    packs = "packs"
    objects = "objects"


class Order(StrEnum):
    """In which order messages are sent."""

    offset = "offset"
    time = "time"


class Partition(StrEnum):
    """Which partition a message goes to."""

    keep = "keep"
    key = "key"


Crc = Annotated[bool, typer.Option("--crc", help="Read the objects too, and compare their bytes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
Topics = Annotated[
    list[str] | None, typer.Option("--topic", metavar="T", help="Only these topics or globs; repeatable.")
]
Start = Annotated[
    str | None, typer.Option("--from", metavar="MS|ISO", help="Only messages of then or later.")
]
Stop = Annotated[str | None, typer.Option("--to", metavar="MS|ISO", help="Only messages before then.")]
Uuids = Annotated[
    list[str] | None, typer.Option("--uuid", metavar="U", help="Only these messages; repeatable.")
]
DestTopic = Annotated[
    str, typer.Option("--dest-topic", metavar="PATTERN", help="Where they go; {topic} is where they were.")
]
AsSent = Annotated[bool, typer.Option("--as-sent", help="Leave out the headers the archive added.")]
InOrder = Annotated[Order, typer.Option("--order", help="In which order they are sent.")]
ToPartition = Annotated[
    Partition, typer.Option("--partition", help="Keep their partitions, or choose them by key.")
]
Rate = Annotated[
    float, typer.Option("--rate", metavar="N", min=0, help="Messages a second; 0: as fast as it goes.")
]
Journal = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="Remembers what was sent, to go on there.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read what was sent and compare it.")]
To = Annotated[Layout, typer.Option("--to", help="How messages are to lie.")]


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
