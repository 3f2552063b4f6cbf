"""headrace archive user: the table of a user of the archive, for the policy file."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline.cli import output


def register(group: typer.Typer) -> None:
    """Add the command to the group of the archive."""
    group.command("user")(user)


def user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")],
    *,
    token: Annotated[
        bool, typer.Option("--token", help="With a new bearer token, shown once, in place of a password.")
    ] = False,
) -> None:
    """Print the table of a user for archive.policy_file; give it rights and append it there.

    The password is asked for, or read from standard input. It is not in the table.

    Example: headrace archive user alice >> policy.toml
    """
    # Loading what computes the keys takes longer than all other commands need to start.
    from pipeline.archive.access.users import make_entry, make_token_entry

    if token:
        made, entry = make_token_entry(name)
        output.note(f"token of {name}, shown only here: {made}")
    else:
        entry = make_entry(name, _password())
    typer.echo(entry, nl=False)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
