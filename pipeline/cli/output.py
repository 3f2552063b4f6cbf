"""How commands talk to people and to programs.

Results go to standard output, everything else to standard error. On a terminal results are tables; in a
pipe they are lines of tab-separated fields, whole and without colour. File names and other text of
strangers are shown with control and direction characters escaped, so that they cannot steer a terminal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline.web.visible import size_text, visible

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder instead of the settings'."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")]
After = Annotated[str | None, typer.Option("--after", metavar="MARK", help="Go on after this page mark.")]


def safe(value: Any) -> str:
    """Return text in which nothing can steer a terminal: such characters become their escapes."""
    return visible(value)


def json_line(value: Any) -> str:
    """Return a value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def print_json(value: Any) -> None:
    """Print one value as one line of JSON."""
    typer.echo(json_line(value))


def print_rows(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows: a table on a terminal, tab-separated lines in a pipe."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(safe(cell) for cell in row))
        return
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(safe(cell), overflow="fold") for cell in row))
    console.print(table)


def note_page(page: Mapping[str, Any], shown: int) -> None:
    """Say on standard error how much of a list was shown, and how to go on."""
    note(f"{shown} of {page['total']}")
    if page["next"]:
        note(f"more: --after {page['next']}")


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one a line; what is empty is left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [], {}, ())}
    print_rows(("", ""), shown.items())


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    typer.echo(safe(text), err=True)


def heading(text: str) -> None:
    """Print the title of a part of the result."""
    Console(highlight=False).print(Text(safe(text), style="bold"))


def progress() -> Progress:
    """Make a progress display for bytes on standard error; it shows nothing when that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def size(size_bytes: int) -> str:
    """Write a size for people: ``3.1 KiB``."""
    return size_text(size_bytes)


def moment(unix_seconds: float) -> str:
    """Write a time for people, in UTC."""
    return dt.datetime.fromtimestamp(unix_seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
