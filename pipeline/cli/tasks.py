"""headrace tasks: the work handed to plugins that is not finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import ask, connection, segment
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

_COLUMNS = ("id", "plugin", "version", "state", "tries", "taken", "heard", "due", "sha256")
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of tasks, as listed.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="List and steer the tasks handed to plugins.")
    group.command("list")(list_tasks)
    group.command("show")(show)
    group.command("hold")(hold)
    group.command("release")(release)
    group.command("requeue")(requeue)
    group.command("hurry")(hurry)
    group.command("process-lost")(process_lost)
    app.add_typer(group, name="tasks")
    app.command("process-lost-tasks")(process_lost)


def list_tasks(
    context: typer.Context,
    *,
    state: Annotated[
        str | None, typer.Option("--state", help="Only running, waiting, offered or held ones.")
    ] = None,
    plugin: Annotated[str | None, typer.Option("--plugin", help="Only those of one plugin.")] = None,
    limit: output.Limit = 100,
    after: output.After = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """List the tasks in flight.

    Example: headrace tasks list --state held
    """
    settings = settings_of(context, data=str(data) if data else None)
    page = run_loop(ask(settings, "/api/tasks", state=state, plugin=plugin, limit=limit, after=after))
    if as_json:
        output.print_json(page)
        return
    output.print_rows(_COLUMNS, map(_row, page["tasks"]))
    output.note_page(page, len(page["tasks"]))


def show(
    context: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of any try of the task.")],
    *,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Show one task with the event it is about.

    Example: headrace tasks show 5d41402abc4b2a76b9719d911017c592.entropy.1.0.1767225600
    """
    settings = settings_of(context, data=str(data) if data else None)
    task = run_loop(ask(settings, f"/api/tasks/{segment(identity)}"))
    if as_json:
        output.print_json(task)
    else:
        output.print_fields({**task, **_times(task), "event": None})


def hold(
    context: typer.Context, ids: Ids, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Hold tasks: they are not given out again until released.

    Example: headrace tasks hold 5d41402abc4b2a76b9719d911017c592.entropy.1.0.1767225600
    """
    _steer(context, "hold", ids, data, as_json=as_json)


def release(
    context: typer.Context, ids: Ids, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Release held tasks: their turn is now.

    Example: headrace tasks release 5d41402abc4b2a76b9719d911017c592.entropy.1.0.1767225600
    """
    _steer(context, "release", ids, data, as_json=as_json)


def requeue(
    context: typer.Context, ids: Ids, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Give tasks to their plugin again at once, without waiting for their time to lapse.

    Example: headrace tasks requeue 5d41402abc4b2a76b9719d911017c592.entropy.1.0.1767225600
    """
    _steer(context, "requeue", ids, data, as_json=as_json)


def hurry(
    context: typer.Context, ids: Ids, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Offer waiting tasks to their plugin at once, whatever is left of their back-off.

    Tasks a plugin is at work on, and held ones, stay as they are.

    Example: headrace tasks hurry 5d41402abc4b2a76b9719d911017c592.entropy.1.0.1767225600
    """
    _steer(context, "hurry", ids, data, as_json=as_json)


def process_lost(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Look for lost tasks now instead of at the next scan interval; prints how many there are.

    Each goes back to its plugin, or is parked after its last try. Doing it again has no further effect.

    Examples: headrace tasks process-lost, headrace process-lost-tasks --json
    """
    settings = settings_of(context, data=str(data) if data else None)
    [found] = run_loop(_post(settings, ["/api/tasks/process-lost"]))
    if as_json:
        output.print_json(found)
    else:
        typer.echo(f"lapsed: {found['lapsed']}")


def _steer(context: typer.Context, what: str, ids: list[str], data: Any, *, as_json: bool) -> None:
    settings = settings_of(context, data=str(data) if data else None)
    for answer in run_loop(_post(settings, [f"/api/tasks/{segment(one)}/{what}" for one in ids])):
        if as_json:
            output.print_json(answer)
        else:
            typer.echo(f"{what}: {output.safe(answer['id'])}")


async def _post(settings: Settings, paths: list[str]) -> list[Any]:
    async with connection(settings) as client:
        return [await client.post(path) for path in paths]


def _row(task: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple({**task, **_times(task), "tries": task["attempt"] + 1}[name] for name in _COLUMNS)


def _times(task: Mapping[str, Any]) -> dict[str, str]:
    return {name: output.moment(task[name]) for name in ("taken", "heard", "due")}
