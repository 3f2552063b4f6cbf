"""headrace config: what the settings are, where each comes from, and whether they work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.state import GlobalOptions, settings_of
from pipeline.errors import HeadraceError
from pipeline.settings import Loaded, Settings, flatten

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    group = typer.Typer(no_args_is_help=True, help="Show and check the settings.")
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="config")


def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Print every setting, its value and where it came from. Secrets are masked.

    Example: headrace config show
    """
    options: GlobalOptions = context.obj
    rows = _rows(options.load())
    if as_json:
        typer.echo(json.dumps([dict(zip(("name", "value", "origin"), row, strict=True)) for row in rows]))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "from"):
        table.add_column(title, overflow="fold")
    for name, value, origin in rows:
        table.add_row(name, json.dumps(value), origin)
    Console().print(table)


def check(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Connect to every part the settings name and report each; exit code 4 when one fails.

    Example: headrace config check
    """
    results = asyncio.run(_check(settings_of(context)))
    if as_json:
        typer.echo(json.dumps(results))
    else:
        for result in results:
            typer.echo(f"{'ok  ' if result['ok'] else 'FAIL'}  {result['part']:<9} {result['detail']}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(4)


def _rows(loaded: Loaded) -> list[tuple[str, Any, str]]:
    flat = flatten(loaded.settings.model_dump(mode="json"))
    rows = []
    for name, value in flat.items():
        origin = next((o for n, o in loaded.origins.items() if n == name), "default")
        rows.append((name, _masked(value), origin))
    return rows


def _masked(value: Any) -> Any:
    """Hide the password of a URL; secrets of their own arrive masked already."""
    if not isinstance(value, str) or "@" not in value or "://" not in value:
        return value
    parts = urlsplit(value)
    user, _, host = parts.netloc.rpartition("@")
    login = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{login}:**********@{host}"))


async def _check(settings: Settings) -> list[dict[str, Any]]:
    from pipeline.app import make_parts
    from pipeline.archive.source.policies import make_policy
    from pipeline.archive_source import make_source

    parts = make_parts(settings)
    pieces: list[tuple[str, str, Any]] = [
        ("log", settings.log, parts.log),
        ("objects", settings.objects, parts.objects),
        ("database", settings.database, parts.database),
        ("index", settings.index, parts.index),
    ]
    if settings.archive.backup:
        pieces.append(("archive.backup", settings.archive.backup, parts.archived))
    if settings.archive.source:
        pieces.append(("archive.source", settings.archive.source, make_source(parts)))
    results = [await _try(name, _masked(url), piece.open, piece.close) for name, url, piece in pieces]
    if settings.archive.policy != "all":
        whence = settings.archive.policy_file or settings.archive.policy_url
        learn = make_policy(settings, parts.clock).refresh
        results.append(await _try("archive.policy", _masked(whence), learn, _nothing))
    return results


async def _nothing() -> None:
    """Close what needs no closing."""


async def _try(
    name: str, url: str, opener: Callable[[], Awaitable[None]], closer: Callable[[], Awaitable[None]]
) -> dict[str, Any]:
    try:
        await opener()
    except HeadraceError as error:
        return {"part": name, "ok": False, "detail": f"{url}: {error}"}
    finally:
        await closer()
    return {"part": name, "ok": True, "detail": url}
