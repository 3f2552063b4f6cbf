"""The command `headrace` from outside: it starts fast, and errors become exit codes."""

from __future__ import annotations

import sys

from pipeline.errors import HeadraceError
from pipeline.exits import INTERRUPTED, exit_code
from pipeline.web.visible import visible


def main() -> None:
    """Run the command line; what a person can act on is one sentence, never a traceback."""
    try:
        # Loading the commands takes long enough to be interrupted, which is no error either.
        from pipeline.cli.commands import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HeadraceError as error:
        sys.stderr.write(f"headrace: {visible(error)}\n")
        sys.exit(exit_code(error))
