"""The commands of `headrace` and its global options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import __version__
from pipeline.cli import (
    archive,
    config,
    consumers,
    filetype,
    get,
    parked,
    plugin,
    reprocess,
    scan,
    search,
    serve,
    submit,
    tasks,
    topics,
    where,
)
from pipeline.cli.state import GlobalOptions

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
GROUPS = (
    scan,
    serve,
    submit,
    get,
    search,
    where,
    consumers,
    plugin,
    tasks,
    parked,
    topics,
    reprocess,
    archive,
    filetype,
    config,
)
for group in GROUPS:
    group.register(app)


@app.callback()
def options(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of the user's.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="One setting, e.g. -s events.prefix=lab."),
    ] = None,
) -> None:
    """Send files and events through hashes, types, rules, search and archive, and lose none.

    Start with: headrace scan SOME_FOLDER
    """
    context.obj = GlobalOptions(config_file, assignments or [])


@app.command()
def version() -> None:
    """Print the version.

    Example: headrace version
    """
    typer.echo(f"headrace {__version__}")
