"""headrace scan: files of this machine through the whole pipeline, with nothing else running."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.cli.paths import check_there
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.scan import Found

SHORT_HASH = 12
COMMON_FORMATS = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scan")(scan)


def scan(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    *,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Send files through the pipeline and show what each is: hashes, type, format, rule hits.

    Everything stays in the data folder: search it afterwards, or scan again, which sends only what is new.
    Exit code 1 when a file failed.

    Example: headrace scan ~/Downloads
    """
    check_there("scan", paths)
    settings = settings_of(context, data=str(data) if data else None)
    shown = Lines() if as_json else Live()
    run_loop(_scan(settings, paths, shown))
    if shown.outcomes["failed"]:
        raise typer.Exit(1)


async def _scan(settings: Settings, paths: list[Path], shown: Shown) -> None:
    from pipeline.clock import SystemClock
    from pipeline.identify.pool import parser_pool

    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(parser_pool(settings, SystemClock()))
        # The parser processes start while this one imports the rest.
        await asyncio.to_thread(import_module, "agents.run")
        from agents.run import running
        from pipeline.app import make_parts, open_parts
        from pipeline.scan import Scan, agents_needed

        parts = await stack.enter_async_context(open_parts(make_parts(settings)))
        names = await agents_needed(parts)
        agents = await stack.enter_async_context(running(parts, names=names, pool=pool))
        with shown:
            counting = asyncio.create_task(asyncio.to_thread(shown.count, paths))
            await Scan(parts, agents.backlog, shown.add).run(paths)
            await counting


class Shown:
    """What is seen of a scan; the base of the two ways to show it."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.size_bytes = 0
        self.hits = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def count(self, paths: list[Path]) -> None:
        """Learn how many files there are; runs beside the scan, in a thread."""

    def add(self, found: Found) -> None:
        """Take in one result."""
        self.outcomes[found.outcome] += 1
        self.size_bytes += found.size_bytes
        if found.finding is not None:
            self.formats[found.finding.file_format or "unknown"] += 1
            self.hits += bool(found.finding.rules)


class Lines(Shown):
    """One JSON object a file on standard output, as it becomes known."""

    def add(self, found: Found) -> None:
        """Print the result."""
        super().add(found)
        whole = msgspec.to_builtins(found)
        known = whole.pop("finding") or {}
        output.print_json({**whole, **known, "problem": found.problem})


class Live(Shown):
    """Results as lines, a progress bar below them, a summary at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False)
        self._started = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("scan", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()
        if kind is None:
            self._summarise()

    def count(self, paths: list[Path]) -> None:
        """Give the progress bar its end."""
        from pipeline.scan_files import files_below

        self._progress.update(self._task, total=sum(1 for _ in files_below(paths)))

    def add(self, found: Found) -> None:
        """Print the result as a line."""
        super().add(found)
        self._progress.advance(self._task)
        known = found.finding
        line = Text(f"{known.sha256[:SHORT_HASH]}  " if known else " " * (SHORT_HASH + 2), style="dim")
        line.append(f"{output.size(found.size_bytes):>10}  ", style="")
        line.append(f"{(known.file_format or known.mime) if known else found.outcome:<32}  ", style="cyan")
        line.append(output.safe(found.path), style="")
        if known and known.rules:
            line.append(f"  {', '.join(output.safe(rule) for rule in known.rules)}", style="bold red")
        if found.problem:
            line.append(f"  {output.safe(found.problem)}", style="yellow")
        self._console.print(line, soft_wrap=True)

    def _summarise(self) -> None:
        counts = ", ".join(f"{number} {name}" for name, number in sorted(self.outcomes.items()))
        seconds = time.monotonic() - self._started
        total = output.size(self.size_bytes)
        self._console.print(
            f"\n{counts or 'no files'}; {total} in {seconds:.1f} s; {self.hits} with rule hits"
        )
        common = ", ".join(f"{name} {number}" for name, number in self.formats.most_common(COMMON_FORMATS))
        if common:
            self._console.print(f"most of them: {common}")
