"""headrace topics: the topics there are and are to be. Contract: dispatcher section 7.6."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import typer

from pipeline.cli import output
from pipeline.cli.client import ask, connection, running
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.topic_changes import Change

CHANGES_WAIT = 5
"""Exit code when the topics are not as the settings ask."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="List the topics, and bring them to the settings.")
    group.command("list")(list_topics)
    group.command("create")(create)
    group.command("plan")(show_plan)
    group.command("apply")(apply)
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


def show_plan(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Print what the next start would change about the topics, and change nothing.

    Exit code 5 when it would change something.

    Example: headrace -s events.partitions=4 topics plan
    """
    settings = settings_of(context, data=str(data) if data else None)
    changes = run_loop(_plan(settings, apply=False))
    _show(changes, as_json=as_json)
    if any(change.action != "skip" for change in changes):
        raise typer.Exit(CHANGES_WAIT)


def apply(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Bring the topics to the settings, as every start does, and print what was changed.

    Example: headrace -s log=kafka://broker:9092 topics apply
    """
    settings = settings_of(context, data=str(data) if data else None)
    _show(run_loop(_plan(settings, apply=True)), as_json=as_json)


def _show(changes: Sequence[Change], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"changes": changes})
        return
    rows = [(change.action, change.spec.name, change.summary, change.reason) for change in changes]
    output.print_rows(("", "topic", "change", "not done"), rows)
    counts = Counter(change.action for change in changes)
    output.note(", ".join(f"{counts[action]} to {action}" for action in ("create", "alter", "skip")))


async def _plan(settings: Settings, *, apply: bool) -> list[Change]:
    """Ask the running Headrace; without one open the log alone, because `connection` would apply it."""
    from pipeline.cli.alone import log_alone
    from pipeline.topic_changes import Change, apply_changes, find_changes

    if await running(settings) is not None:
        async with connection(settings) as client:
            answer = await (client.post if apply else client.get)("/api/topics/plan")
            return msgspec.convert(answer["changes"], list[Change])
    async with log_alone(settings) as parts:
        changes = await find_changes(parts.log, parts.topics)
        if apply:
            await apply_changes(parts.log, changes)
        return changes


async def _create(settings: Settings) -> list[str]:
    """As `_plan`, for the missing topics only."""
    from pipeline.cli.alone import log_alone

    if await running(settings) is not None:
        async with connection(settings) as client:
            return list((await client.post("/api/topics"))["created"])
    async with log_alone(settings) as parts:
        return await parts.log.create_topics(parts.topics.specs)
