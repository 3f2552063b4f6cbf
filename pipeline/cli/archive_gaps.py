"""headrace archive gaps: what of the archived topics is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import connection, segment
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings


def register(group: typer.Typer) -> None:
    """Add the command to the group of the archive."""
    group.command("gaps")(gaps)


def gaps(
    context: typer.Context,
    topic: Annotated[
        str,
        typer.Argument(metavar="[TOPIC]", help="The topic whose gaps are listed; else all are counted."),
    ] = "",
    *,
    limit: output.Limit = 100,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Print which offsets between archived ones are not archived, and what the log says of them.

    Offsets are left out by compaction and transactions too, so not archived need not mean lost.

    Example: headrace archive gaps gcn.notice
    """
    settings = settings_of(context, data=str(data) if data else None)
    found = run_loop(_find(settings, topic, limit))
    if as_json:
        output.print_json(found[0] if topic else {"topics": found})
    elif topic:
        _print_topic(found[0])
    else:
        rows = ((one["topic"], len(one["partitions"]), *_totals(one)) for one in found)
        output.print_rows(("topic", "partitions", "gaps", "not archived", "not yet archived"), rows)


async def _find(settings: Settings, topic: str, limit: int) -> Sequence[Mapping[str, Any]]:
    async with connection(settings) as client:
        listed = [topic] if topic else (await client.get("/api/archive/topics"))["topics"]
        return [
            await client.get(f"/api/archive/topics/{segment(one)}/gaps", limit=limit if topic else 0)
            for one in listed
        ]


def _totals(one: Mapping[str, Any]) -> tuple[int, int, int]:
    waiting = sum(partition["waiting"] or 0 for partition in one["partitions"])
    return one["gaps_total"], one["missing_total"], waiting


def _print_topic(found: Mapping[str, Any]) -> None:
    columns = (
        "partition",
        "first",
        "last",
        "archived",
        "gaps",
        "missing",
        "log_start",
        "log_end",
        "waiting",
    )
    titles = (
        "partition",
        "first",
        "last",
        "archived",
        "gaps",
        "not archived",
        "log from",
        "log end",
        "not yet",
    )
    output.heading("archived offsets")
    output.print_rows(titles, ([_shown(one[name]) for name in columns] for one in found["partitions"]))
    typer.echo("")
    output.heading("gaps")
    output.print_rows(
        ("partition", "first", "last", "offsets", "parked", "in the log"),
        (
            [gap[name] for name in ("partition", "first", "last", "offsets", "parked", "cause")]
            for gap in found["gaps"]
        ),
    )
    output.note(
        f"{len(found['gaps'])} of {found['gaps_total']} gaps, {found['missing_total']} offsets in all"
    )
    if found["why"]:
        output.note(f"the log was not asked: {found['why']}")


def _shown(value: Any) -> Any:
    return "" if value is None else value
