"""headrace topics: the topics there are and are to be."""

from __future__ import annotations

import typer

from pipeline.cli import output
from pipeline.cli.client import ask, connection, running
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="List the topics, and create those that are missing.")
    group.command("list")(list_topics)
    group.command("create")(create)
    app.add_typer(group, name="topics")


def list_topics(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """List every topic with its partitions and records.

    Example: headrace topics list
    """
    settings = settings_of(context, data=str(data) if data else None)
    topics = run_loop(ask(settings, "/api/topics"))
    if as_json:
        output.print_json(topics)
        return
    rows = (
        (t["name"], t["partitions"], t["records"], "" if t["planned"] else "no longer planned")
        for t in topics["topics"]
    )
    output.print_rows(("topic", "partitions", "records", ""), rows)


def create(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Create the topics the settings name, where they are missing; existing ones stay as they are.

    Example: headrace -s log=kafka://broker:9092 topics create
    """
    settings = settings_of(context, data=str(data) if data else None)
    created = run_loop(_create(settings))
    if as_json:
        output.print_json({"created": created})
        return
    for name in created:
        typer.echo(name)
    output.note(f"{len(created)} created")


async def _create(settings: Settings) -> list[str]:
    """Ask the running Headrace; without one open the log alone, because `connection` would create them."""
    if await running(settings) is not None:
        async with connection(settings) as client:
            return list((await client.post("/api/topics"))["created"])
    from pipeline.app import make_parts

    parts = make_parts(settings)
    await parts.log.open()
    try:
        return await parts.log.create_topics(parts.topics.specs)
    finally:
        await parts.log.close()
