"""Paths as people name them on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.cli import output
from pipeline.errors import NotFound


def check_there(verb: str, paths: Iterable[Path]) -> None:
    """Accept paths that exist, dangling links among them; `verb` says what was to be done with them.

    Raises:
        NotFound: One does not exist; the first is named.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise NotFound(f"{verb} {output.safe(str(path))}", "there is no such file or folder")
