"""The command `headrace` from outside: it starts fast, and errors become exit codes.

Exit codes: 0 done; 1 failed; 2 used wrongly, or a wrong setting; 3 not found; 4 a part cannot be reached;
5 `topics plan` found something to change; 130 interrupted.
"""

from __future__ import annotations

import sys

from pipeline.errors import BadInput, HeadraceError, NotFound, SettingError, Unavailable
from pipeline.web.visible import visible

FAILED, WRONG_USE, NOT_FOUND, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130


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


def exit_code(error: HeadraceError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, SettingError | BadInput):
        return WRONG_USE
    if isinstance(error, NotFound):
        return NOT_FOUND
    return UNREACHABLE if isinstance(error, Unavailable) else FAILED
