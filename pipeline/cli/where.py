"""headrace where: the life line of one file or event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import ask, segment
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("where")(where)


def where(
    context: typer.Context,
    identity: Annotated[
        str, typer.Argument(metavar="HASH|ID", help="A hash of a file, or the id of an event or task.")
    ],
    *,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Print everything that knows a file or event: topics, tables, objects, rows and documents.

    Exit code 3 when nothing does.

    Example: headrace where 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
    """
    settings = settings_of(context, data=str(data) if data else None)
    line = run_loop(ask(settings, f"/api/where/{segment(identity.strip())}"))
    if as_json:
        output.print_json(line)
    else:
        _print(line)


def _print(line: Mapping[str, Any]) -> None:
    output.heading(f"{line['asked']} ({line['kind']})")
    for sha256 in line["objects_meant"]:
        if sha256 != line["asked"]:
            output.note(f"means {sha256}")
    _part("topics", ("topic", "partition", "offset", "time", "what"), map(_record, line["records"]))
    _part("tables", ("table", "key"), ((e["table"], e["key"]) for e in line["entries"]))
    _part("objects", ("key", "bytes", "stored"), map(_object, line["objects"]))
    _part("rows", ("topic", "partition", "offset", "key"), map(_archived, line["rows"]))
    _part("documents", ("family", "id", "what"), map(_document, line["documents"]))
    for remark in line["remarks"]:
        output.note(remark)


def _part(title: str, headers: tuple[str, ...], rows: Any) -> None:
    found = list(rows)
    typer.echo("")
    output.heading(f"{title} ({len(found)})")
    if found:
        output.print_rows(headers, found)


def _record(one: Mapping[str, Any]) -> tuple[Any, ...]:
    time = output.moment(one["timestamp_ms"] / 1000)
    return one["topic"], one["partition"], one["offset"], time, one["what"]


def _object(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["key"], one["size_bytes"], one["modified"]


def _archived(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["topic"], one["partition"], one["offset"], one["key"]


def _document(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["family"], one["id"], one["what"]
