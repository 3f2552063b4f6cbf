"""headrace parked: records and tasks put aside with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import Client, ask, connection, segment
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import BadInput
from pipeline.settings import Settings

_COLUMNS = ("id", "agent", "topic", "partition", "offset", "reason", "parked", "state")


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="List and replay what was put aside.")
    group.command("list")(list_entries)
    group.command("show")(show)
    group.command("replay")(replay)
    app.add_typer(group, name="parked")


def list_entries(
    context: typer.Context,
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Only what one agent parked.")] = None,
    limit: output.Limit = 100,
    after: output.After = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """List what is parked.

    Example: headrace parked list
    """
    settings = settings_of(context, data=str(data) if data else None)
    page = run_loop(ask(settings, "/api/parked", agent=agent, limit=limit, after=after))
    if as_json:
        output.print_json(page)
        return
    output.print_rows(_COLUMNS, map(_row, page["entries"]))
    output.note_page(page, len(page["entries"]))


def show(
    context: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the entry.")],
    *,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Show one entry: what was parked, by whom, and why.

    Example: headrace parked show 9f86d081884c7d659a2feaa0c55ad015
    """
    settings = settings_of(context, data=str(data) if data else None)
    entry = run_loop(ask(settings, f"/api/parked/{segment(identity)}"))
    if as_json:
        output.print_json(entry)
    else:
        output.print_fields({**entry, "parked_at": output.moment(entry["parked_at"])})


def replay(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of entries.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every entry that is parked.")] = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Put parked records back on their topics, and parked tasks back to their plugins.

    Example: headrace parked replay 9f86d081884c7d659a2feaa0c55ad015
    """
    if bool(ids) == everything:
        raise BadInput("replay", "name entries, or use --all", "`headrace parked list` lists them")
    settings = settings_of(context, data=str(data) if data else None)
    for answer in run_loop(_replay(settings, ids or [])):
        if as_json:
            output.print_json(answer)
        else:
            typer.echo(f"replayed: {output.safe(answer['id'])}")


async def _replay(settings: Settings, ids: list[str]) -> list[Any]:
    async with connection(settings) as client:
        wanted = ids or await _all(client)
        return [await client.post(f"/api/parked/{segment(one)}/replay") for one in wanted]


async def _all(client: Client) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await client.get("/api/parked", limit=1000, after=after)
        found += [entry["id"] for entry in page["entries"] if entry["state"] == "parked"]
        after = page["next"]
        if after is None:
            return found


def _row(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple({**entry, "parked": output.moment(entry["parked_at"])}[name] for name in _COLUMNS)
