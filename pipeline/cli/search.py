"""headrace search: find documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.client import ask
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

_COLUMNS = ("sha256", "action", "source", "type", "size", "name", "time")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="What to look for; none: everything."),
    ] = None,
    *,
    family: Annotated[str, typer.Option("--family", help="binary2, status or plugin.")] = "binary2",
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="FIELD", help="Order by a field; -FIELD: last first.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="FIELD", help="Count the values of a field instead.")
    ] = None,
    limit: output.Limit = 25,
    after: output.After = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Search what the pipeline found out: by hash, field, words, source or time.

    Examples: headrace search sha256:2cf2...  |  headrace search source.name:testing size:>1000 invoice
              headrace search --group file_format
    """
    settings = settings_of(context, data=str(data) if data else None)
    query: dict[str, Any] = {"q": " ".join(words or []), "family": family, "limit": limit}
    if group is not None:
        run_loop(_group(settings, {**query, "field": group}, as_json=as_json))
    else:
        run_loop(_search(settings, {**query, "sort": sort, "after": after}, as_json=as_json))


async def _search(settings: Settings, query: Mapping[str, Any], *, as_json: bool) -> None:
    page = await ask(settings, "/api/search", **query)
    if as_json:
        output.print_json(page)
        return
    if query["family"] == "binary2":
        output.print_rows(_COLUMNS, (_row(hit["body"]) for hit in page["hits"]))
    else:
        output.print_rows(("id", "time"), ((h["id"], h["body"].get("timestamp", "")) for h in page["hits"]))
    output.note_page(page, len(page["hits"]))


async def _group(settings: Settings, query: Mapping[str, Any], *, as_json: bool) -> None:
    answer = await ask(settings, "/api/search/groups", **query)
    if as_json:
        output.print_json(answer)
        return
    output.print_rows((query["field"], "documents"), ((g["value"], g["count"]) for g in answer["groups"]))


def _row(body: Mapping[str, Any]) -> tuple[Any, ...]:
    names = body.get("filename") or [""]
    return (
        body.get("sha256", ""),
        body.get("action", ""),
        body.get("source", {}).get("name", ""),
        body.get("file_format") or body.get("mime", ""),
        body.get("size", ""),
        names[0] if isinstance(names, list) else names,
        body.get("timestamp", ""),
    )
