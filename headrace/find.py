"""Finding plugins by name: ``module:name``, or what an installed distribution offers.

Distributions offer theirs in the entry point group `headrace.plugins`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from headrace.plugin import Plugin
from pipeline.errors import SettingError

GROUP = "headrace.plugins"
ALL = "*"
"""Every plugin that installed distributions offer."""


def offered() -> dict[str, EntryPoint]:
    """Return what installed distributions offer, by name; nothing of it is imported."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda one: one.name)}


def find(name: str) -> Plugin:
    """Import the plugin of a name.

    ``module:name`` is looked for where Python looks, and last in the working folder. A name without a colon
    is one that an installed distribution offers.

    Raises:
        SettingError: There is no such plugin, its module cannot be imported, or it is something else.
    """
    tried = f"find plugin {name!r}"
    module, colon, attribute = name.partition(":")
    if colon and not (module and attribute):
        raise SettingError(tried, "it is not written MODULE:NAME", "write it like line_count:plugin")
    point = None if colon else offered().get(name)
    if not colon and point is None:
        known = ", ".join(offered()) or "none"
        raise SettingError(tried, f"the installed ones are: {known}", "or write it MODULE:NAME")
    try:
        found = point.load() if point else _imported(module, attribute)
    except Exception as error:  # a module may raise anything when it is imported
        raise SettingError(tried, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, Plugin):
        raise SettingError(tried, f"it is a {type(found).__name__}, no Plugin")
    _ = found.function  # one without is of no use to anybody who looks for it
    return found


def find_all(names: Iterable[str]) -> list[Plugin]:
    """Import the plugins of some names, each once; ``*`` is every offered one. Raises as `find`."""
    wanted: dict[str, None] = {}
    for name in names:
        wanted |= dict.fromkeys(offered() if name == ALL else (name,))
    return [find(name) for name in wanted]


def _imported(module: str, attribute: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Last, so that no file that lies here takes the place of a module that is installed.
        sys.path.append(folder)
    return getattr(importlib.import_module(module), attribute)
