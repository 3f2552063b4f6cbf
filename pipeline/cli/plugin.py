"""headrace plugin: run plugins, try them on files, see which are installed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import running
from pipeline.cli.loop import run_loop
from pipeline.cli.paths import check_there
from pipeline.cli.state import settings_of
from pipeline.exits import INTERRUPTED

if TYPE_CHECKING:
    from headrace.testing import Outcome

Name = Annotated[
    str, typer.Argument(metavar="MODULE:NAME", help="Where the plugin is, or the name of an installed one.")
]
_COLUMNS = ("file", "what", "sha256", "found")


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Run plugins, try them on files, see which there are.")
    group.command("run")(run)
    group.command("test")(try_out)
    group.command("list")(list_plugins)
    app.add_typer(group, name="plugin")


def run(
    context: typer.Context,
    name: Name,
    *,
    api: Annotated[
        str | None, typer.Option("--api", metavar="URL", help="Where Headrace is, if not the one of here.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Tasks at once.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to do.")] = False,
    data: output.DataFolder = None,
) -> None:
    """Run a plugin against a running Headrace until stopped; it finishes the task at hand first.

    Example: headrace plugin run line_count:plugin --api http://127.0.0.1:8111
    """
    from headrace.find import find
    from headrace.process import run_until_stopped

    settings = settings_of(context, data=str(data) if data else None, api=api)
    plugin = find(name)

    async def main() -> bool:
        url = await running(settings) or f"http://{settings.web.listen}"
        output.note(f"{plugin}: {url}/")
        return await run_until_stopped(plugin, url, concurrency=concurrency, once=once)

    if not run_loop(main()):
        raise typer.Exit(INTERRUPTED)


def try_out(
    context: typer.Context,
    name: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to run it over.")],
    *,
    as_json: output.AsJson = False,
) -> None:
    """Run a plugin over files, with nothing running, and list the events it produced.

    Exit code 1 when it failed on one.

    Example: headrace plugin test line_count:plugin notes.txt
    """
    from headrace import testing
    from headrace.find import find

    settings_of(context)
    check_there("run a plugin over", paths)
    plugin = find(name)

    async def main() -> bool:
        well = True
        for path in paths:
            outcome = await testing.outcome_of(plugin, path)
            await asyncio.to_thread(_print, path, outcome, as_json=as_json)
            well = well and not outcome.status.startswith("error-")
        return well

    if not run_loop(main()):
        raise typer.Exit(1)


def list_plugins(context: typer.Context, *, as_json: output.AsJson = False) -> None:
    """List the plugins that installed distributions offer.

    Example: headrace plugin list
    """
    from headrace.find import offered

    settings_of(context)
    rows = [
        {"name": name, "plugin": point.value, "distribution": point.dist.name if point.dist else ""}
        for name, point in offered().items()
    ]
    if as_json:
        output.print_json(rows)
    else:
        output.print_rows(("name", "plugin", "distribution"), [list(row.values()) for row in rows])


def _print(path: Path, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        told = {"path": str(path), "status": outcome.status or "not-handed-out"}
        for name in ("error", "message", "refused", "events"):
            told[name] = getattr(outcome, name)
        output.print_json(told)
        return
    ended = outcome.error or outcome.message or outcome.refused
    rows: list[tuple[Any, ...]] = [(path, outcome.status or "not-handed-out", "", ended)]
    for event in outcome.events:
        found = [f"{one.name}={one.value}" for one in event.entity.features]
        found += [f"{one.label} {output.size(one.size)}" for one in event.entity.datastreams]
        found += [bytes(event.entity.info).decode()] if event.entity.info else []
        rows.append((path, event.action, event.entity.sha256, ", ".join(found)))
    output.print_rows(_COLUMNS, rows)
    if outcome.status.startswith("error-"):
        for line in outcome.message.splitlines():
            output.note(line)
