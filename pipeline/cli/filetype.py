"""headrace filetype: what files are, without storing anything. Contract: dispatcher section 24."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.cli.paths import check_there
from pipeline.cli.state import settings_of
from pipeline.errors import HeadraceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.identify.pool import ParserPool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("filetype")(filetype)


def filetype(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    *,
    as_json: output.AsJson = False,
) -> None:
    """Print name, file format and MIME type of files, also of those below folders. Nothing is stored.

    Exit code 1 when a file could not be identified.

    Example: headrace filetype ~/Downloads
    """
    check_there("identify", paths)
    if not run_loop(_identify(settings_of(context), paths, as_json=as_json)):
        raise typer.Exit(1)


async def _identify(settings: Settings, paths: list[Path], *, as_json: bool) -> bool:
    """Print each file as soon as those before it are printed; tell whether all could be identified."""
    from pipeline.clock import SystemClock
    from pipeline.identify.pool import parser_pool
    from pipeline.scan_files import files_below

    async with await asyncio.to_thread(parser_pool, settings, SystemClock()) as pool:
        files = files_below(paths)
        whole = True
        while some := await asyncio.to_thread(_take, files, pool.window):
            answers = await asyncio.gather(*(_one(pool, path, as_json=as_json) for path in some))
            for line, known in answers:
                typer.echo(line, err=not known)
                whole = whole and known
    return whole


def _take(files: Iterator[Path], count: int) -> list[Path]:
    return [path for path, _ in zip(files, range(count), strict=False)]


async def _one(pool: ParserPool, path: Path, *, as_json: bool) -> tuple[str, bool]:
    """Return the line of a file, and whether it could be identified."""
    try:
        found = await pool.identify(path)
    except HeadraceError as error:
        return output.safe(f"{path}: {error}"), False
    if found.problem is not None:
        return output.safe(f"{path}: {found.problem.text}"), False
    known = {"path": str(path), "file_format": found.file_format, "mime": found.mime}
    if as_json:
        return output.json_line(known), True
    return "\t".join(output.safe(value) for value in known.values()), True
