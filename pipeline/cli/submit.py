"""headrace submit: hand files to the pipeline."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import Progress

from pipeline import limits
from pipeline.cli import output
from pipeline.cli.client import Client, connection
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import BadInput, HeadraceError, NotFound, Unavailable
from pipeline.settings import Settings

STDIN = "-"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)


def submit(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, or -: standard input.")
    ],
    *,
    source: Annotated[str, typer.Option("--source", help="Configured source they come from.")] = "testing",
    references: Annotated[
        list[str] | None,
        typer.Option("--reference", "-r", metavar="KEY=VALUE", help="What to remember; repeatable."),
    ] = None,
    filename: Annotated[
        str | None, typer.Option("--filename", help="Name to record, for one file or standard input.")
    ] = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Submit files: each is stored, then announced to the pipeline; prints its hash and event.

    Files below a folder are taken one by one; links are not followed there. Exit code 1 when one failed.

    Example: headrace submit --source testing -r ticket=4711 sample.bin
    """
    settings = settings_of(context, data=str(data) if data else None)
    query = {"source": source, **_references(references or [])}
    if filename is not None and len(paths) > 1:
        raise BadInput("submit", "--filename names one file", "submit one path at a time with it")
    failed = run_loop(_submit(settings, paths, query, filename, as_json=as_json))
    if failed:
        raise typer.Exit(1)


def _references(pairs: list[str]) -> dict[str, str]:
    query = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise BadInput(f"read the reference {pair!r}", "a reference is written KEY=VALUE")
        query[f"reference.{key}"] = value
    return query


async def _submit(
    settings: Settings, paths: list[str], query: dict[str, str], filename: str | None, *, as_json: bool
) -> int:
    """Submit everything; return how many files failed. A single file's failure is raised."""
    files = await asyncio.to_thread(_files, paths)
    failed = 0
    async with connection(settings) as client:
        for file in files:
            name = filename if filename is not None else _name(file)
            try:
                answer = await _send(client, file, {**query, "filename": name})
            except (BadInput, OSError) as error:
                if len(files) == 1:
                    raise _told(file, error) from error
                output.note(f"headrace: {_told(file, error)}")
                failed += 1
                continue
            _print(file, answer, as_json=as_json)
        if client.is_local and failed < len(files):
            output.note("stored; no Headrace is running here, so `headrace up` will process it")
    return failed


def _files(paths: list[str]) -> list[str]:
    """Expand folders into the files below them, in a steady order."""
    found: list[str] = []
    for path in paths:
        if path == STDIN or not Path(path).is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            inside = (Path(folder, name) for name in sorted(names))
            found += [str(file) for file in inside if file.is_file() and not file.is_symlink()]
    if not found:
        raise NotFound("submit", "there are no files in it")
    return found


def _name(path: str) -> str:
    """Give the name to record; bytes that are no UTF-8 are shown escaped."""
    return "" if path == STDIN else os.fsencode(Path(path).name).decode(errors="backslashreplace")


def _told(file: str, error: HeadraceError | OSError) -> HeadraceError:
    if isinstance(error, HeadraceError):
        return error
    kind = NotFound if isinstance(error, FileNotFoundError) else BadInput
    return kind(f"read {output.safe(file)}", error.strerror or str(error))


async def _send(client: Client, file: str, query: dict[str, str]) -> Any:
    handle, size_bytes = await asyncio.to_thread(_open, file)
    body = _Body(file, handle, size_bytes)
    try:
        with output.progress() as progress:  # gone again before the result is printed
            body.show(progress, output.safe(query["filename"] or "standard input"))
            return await client.post("/api/objects", body, size_bytes=size_bytes, **query)
    except Unavailable as error:
        raise body.problem or error from error
    finally:
        if file != STDIN:
            await asyncio.to_thread(handle.close)


def _open(file: str) -> tuple[BinaryIO, int | None]:
    if file == STDIN:
        return sys.stdin.buffer, None
    handle = Path(file).open("rb")  # noqa: SIM115 - closed by `_send`
    # Devices, pipes and files of /proc have no size that means anything.
    return handle, os.fstat(handle.fileno()).st_size or None


class _Body:
    """The bytes of a file on their way, and what went wrong with it if anything did."""

    def __init__(self, file: str, handle: BinaryIO, size_bytes: int | None) -> None:
        self._file = file
        self._handle = handle
        self._size_bytes = size_bytes
        self._advance: Callable[[int], None] = lambda _: None
        self.problem: BadInput | None = None

    def show(self, progress: Progress, name: str) -> None:
        """Show how far it is."""
        task = progress.add_task(name, total=self._size_bytes)
        self._advance = partial(progress.advance, task)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes. A file that changes its size meanwhile is no one file."""
        sent_bytes = 0
        try:
            while chunk := await asyncio.to_thread(self._handle.read, limits.CHUNK_BYTES):
                sent_bytes += len(chunk)
                self._check(sent_bytes <= (self._size_bytes or sent_bytes))
                self._advance(len(chunk))
                yield chunk
            self._check(sent_bytes == (self._size_bytes or sent_bytes))
        except OSError as error:
            self.problem = BadInput(f"read {output.safe(self._file)}", error.strerror or str(error))
            raise

    def _check(self, fits: bool) -> None:
        if not fits:
            why = "its size changed while it was read"
            self.problem = BadInput(f"read {output.safe(self._file)}", why, "submit it when it is complete")
            raise self.problem


def _print(file: str, answer: Any, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"path": os.fsencode(file).decode(errors="backslashreplace"), **answer})
    else:
        typer.echo(f"{answer['sha256']}  {output.safe(file)}")
