"""headrace consumers, pause, resume: who consumes, how far behind it is, whether tasks are handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline import limits
from pipeline.cli import output
from pipeline.cli.client import connection
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

_COLUMNS = ("consumer", "route", "lag", "lanes", "tasks", "retries", "parked", "seen")
Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=limits.CONSUMERS_PAGE_MAX, help="At most so many.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("consumers")(list_consumers)
    app.command("pause")(pause)
    app.command("resume")(resume)


def list_consumers(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Option("--name", help="Only those of one name.")] = None,
    limit: Limit = limits.CONSUMERS_PAGE_MAX,
    after: output.After = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """List the plugins and other consumers of the last day, with the records each lane has before it.

    Tasks are those in flight by state; parked ones were given up after their last try.

    Example: headrace consumers --name entropy
    """
    settings = settings_of(context, data=str(data) if data else None)
    page, pause = run_loop(_look(settings, name=name, limit=limit, after=after))
    if as_json:
        output.print_json({**page, "pause": pause})
        return
    output.print_rows(_COLUMNS, map(_row, page["consumers"]))
    output.note_page(page, len(page["consumers"]))
    if pause["state"] != "none":
        output.note(pause["effect"])


def pause(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Hand out no tasks for ten minutes; consumers of events go on. Prints until when, and what that means.

    Example: headrace pause
    """
    _tell(context, "/api/pause", data, as_json=as_json)


def resume(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """End the pause: plugins go on where they were.

    Example: headrace resume
    """
    _tell(context, "/api/resume", data, as_json=as_json)


def _tell(context: typer.Context, path: str, data: Any, *, as_json: bool) -> None:
    settings = settings_of(context, data=str(data) if data else None)
    told = run_loop(_post(settings, path))
    if as_json:
        output.print_json(told)
    else:
        typer.echo(told["effect"])


async def _look(settings: Settings, **query: Any) -> tuple[Any, Any]:
    async with connection(settings) as client:
        return await client.get("/api/consumers", **query), await client.get("/api/pause")


async def _post(settings: Settings, path: str) -> Any:
    async with connection(settings) as client:
        return await client.post(path)


def _row(consumer: Mapping[str, Any]) -> tuple[Any, ...]:
    lanes = {lane["lane"]: "-" if lane["lag"] is None else lane["lag"] for lane in consumer["lanes"]}
    out = consumer["out"]
    return (
        consumer["key"],
        consumer["route"],
        consumer["lag"],
        _pairs(lanes),
        _pairs(out["tasks"]),
        out["retries"],
        out["parked"],
        output.moment(consumer["seen"]),
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
