"""What the global options said, for the command that runs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import typer

from pipeline import logs
from pipeline.cli import output
from pipeline.errors import SettingError
from pipeline.settings import Loaded, Settings, load, put, value_of


class GlobalOptions:
    """The options before the command; kept in typer's context."""

    def __init__(self, file: Path | None, assignments: list[str]) -> None:
        self.file = file
        self.overrides = _nested(assignments)

    def load(self, **overrides: Any) -> Loaded:
        """Load the settings and say what was given without effect.

        `overrides` are dotted names with ``__`` for the dot; those of None are left out.
        """
        merged = deepcopy(self.overrides)
        for name, value in overrides.items():
            if value is not None:
                put(merged, name.split("__"), value)
        loaded = load(merged, file=self.file)
        for warning in loaded.warnings:
            output.note(f"headrace: {warning}")
        return loaded


def settings_of(context: typer.Context, **overrides: Any) -> Settings:
    """Load the settings for a command and set up logging by them."""
    options: GlobalOptions = context.obj
    settings = options.load(**overrides).settings
    logs.configure(settings.logging)
    return settings


def _nested(assignments: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise SettingError(f"--set {assignment}", "a setting is written NAME=VALUE")
        put(values, name.split("."), value_of(value))
    return values
