"""docs/housekeeping.md names every command, option and key of the archive's own commands, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.housekeeping.commands import app as housekeeping
from pipeline.housekeeping.keys import FLAT, KEYS
from pipeline.housekeeping.utilities import app as houseutils

TEXT = (Path(__file__).parent.parent.parent / "docs/housekeeping.md").read_text()


def commands(name: str, app: typer.Typer) -> dict[str, Any]:
    found: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return {f"{name} {below}": command for below, command in found.items()}


COMMANDS = commands("housekeeping", housekeeping) | commands("houseutils", houseutils)


def row(command: str) -> str:
    (found,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{command}` ")]
    return found


def test_every_command_is_documented_and_no_other() -> None:
    named = re.findall(r"^\| `((?:housekeeping|houseutils) \w+)`", TEXT, re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_stands_in_the_row_of_its_command(command: str) -> None:
    for parameter in COMMANDS[command].params:
        spellings = {name for name in parameter.opts if name.removeprefix("--") not in FLAT}
        if spellings and not spellings & {"-h", "--help"}:
            shown = {name for name in spellings if f"`{name}`" in row(command)}
            positional = (parameter.metavar or "") in row(command)
            assert shown or positional, f"{command} {spellings}"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_help_text_shows_an_example(command: str) -> None:
    if command != "houseutils list":  # the same as that of housekeeping
        assert f"Example: {command}" in (COMMANDS[command].help or "")


def test_every_key_is_documented_with_its_name_in_the_second_generation_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` (\|.*)$", TEXT, re.MULTILINE))
    assert set(rows) == set(KEYS)
    for name, key in KEYS.items():
        assert (f"`--{key.flat}`" in rows[name]) is bool(key.flat), name


def test_every_default_of_a_key_is_documented() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]*) \|", TEXT, re.MULTILINE))
    for name, key in KEYS.items():
        if key.default and not isinstance(key.default, bool):
            values = key.default if isinstance(key.default, tuple) else (key.default,)
            assert rows[name] == ", ".join(f"`{value}`" for value in values), name
