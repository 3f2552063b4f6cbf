"""The command `headrace`: global options, the list of commands, and how errors become exit codes.

Exit codes: 0 done; 1 failed; 2 used wrongly, or a wrong setting; 3 not found; 4 a part cannot be reached;
130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import __version__
from pipeline.cli import config, get, parked, scan, search, serve, submit, tasks, topics, where
from pipeline.cli.state import GlobalOptions
from pipeline.errors import BadInput, HeadraceError, NotFound, SettingError, Unavailable

FAILED, WRONG_USE, NOT_FOUND, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for group in (scan, serve, submit, get, search, where, tasks, parked, topics, config):
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


def main() -> None:
    """Run the command line; what a person can act on is one sentence, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HeadraceError as error:
        typer.echo(f"headrace: {error}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: HeadraceError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, SettingError | BadInput):
        return WRONG_USE
    if isinstance(error, NotFound):
        return NOT_FOUND
    return UNREACHABLE if isinstance(error, Unavailable) else FAILED
