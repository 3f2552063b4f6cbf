"""Tables and times as the archive's commands print them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli import output

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def table(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], total: Sequence[Any] | None = None
) -> list[str]:
    """Lay out a table as GitHub's Markdown has them; numbers get thousands separators and stand right.

    `total` comes last, behind a rule.
    """
    written = [[_cell(value) for value in row] for row in (*rows, *([total] if total is not None else []))]
    widths = [max(map(len, column)) for column in zip(headers, *written, strict=True)]
    numeric = [any(isinstance(row[n], int) for row in rows) for n in range(len(headers))]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    lines = [_line(headers, widths, numeric), rule]
    lines += [_line(row, widths, numeric) for row in written[: len(rows)]]
    if total is not None:
        lines += [rule, _line(written[-1], widths, numeric)]
    return lines


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else output.safe(value)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def time_text(ms: int) -> str:
    """Write a message's time as ISO 8601 in UTC; beyond the year 9999 as the number it is."""
    try:
        return (_EPOCH + dt.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{ms} ms"


def counting(what: str, total: int | None) -> Progress:
    """Make a bar that counts on standard error; nothing is shown when that is no terminal.

    Lines printed meanwhile go above it; into a pipe they go undisturbed.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        redirect_stdout=Console().is_terminal,
        transient=True,
    )
    bar.add_task(what, total=total)
    return bar


def step(bar: Progress, number: int = 1) -> None:
    """Count on."""
    bar.advance(bar.task_ids[0], number)
