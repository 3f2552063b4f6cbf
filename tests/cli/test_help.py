"""Help: every command says what it does, with an example that is a real command."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from pipeline.cli.commands import app
from tests.cli.command import Command


def commands(group: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command that does something."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        words = (*above, name)
        found += commands(command, words) if hasattr(command, "commands") else [words]
    return found


ALL = commands(typer.main.get_command(app))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(
    headrace: Command, words: tuple[str, ...]
) -> None:
    text = headrace.plain(*words, "--help").text
    assert text == headrace.plain(*words, "-h").text
    assert "Example" in text
    example = " ".join(text.partition("Example")[2].split())
    assert re.search(rf"headrace (-s \S+ )?{' '.join(words)}\b", example)


def test_every_command_that_is_promised_is_there() -> None:
    promised = "scan, up, worker, api, submit, get, search, where, tasks, parked, config, topics, version"
    assert {words[0] for words in ALL} >= set(promised.split(", "))
    for words in (("parked", "list"), ("parked", "show"), ("parked", "replay"), ("topics", "create")):
        assert words in ALL


def test_help_is_for_whoever_types_nothing(headrace: Command) -> None:
    assert "scan" in headrace.plain(code=2).err + headrace.plain("--help").text


def test_version_is_the_version_that_is_installed(headrace: Command) -> None:
    name, version = headrace.plain("version").text.split()
    assert name == "headrace"
    assert version[0].isdigit()
