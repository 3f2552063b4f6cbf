"""The commands `housekeeping` and `houseutils` from outside: errors are one sentence and exit status 1."""

from __future__ import annotations

import sys
from importlib import import_module

from pipeline.errors import HeadraceError
from pipeline.exits import FAILED, INTERRUPTED
from pipeline.web.visible import visible


def housekeeping() -> None:
    """Run `housekeeping`."""
    _run("housekeeping", "commands")


def houseutils() -> None:
    """Run `houseutils`."""
    _run("houseutils", "utilities")


def _run(name: str, module: str) -> None:
    try:
        import_module(f"pipeline.housekeeping.{module}").app(prog_name=name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HeadraceError as error:
        sys.stderr.write(f"{name}: {visible(error)}\n")
        sys.exit(FAILED)
