"""Exit codes of the project's programs.

0 done; 1 failed; 2 used wrongly, or a wrong setting; 3 not found; 4 a part cannot be reached;
5 `headrace topics plan` found something to change; 130 interrupted.
"""

from __future__ import annotations

from pipeline.errors import BadInput, HeadraceError, NotFound, SettingError, Unavailable

FAILED, WRONG_USE, NOT_FOUND, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130


def exit_code(error: HeadraceError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, SettingError | BadInput):
        return WRONG_USE
    if isinstance(error, NotFound):
        return NOT_FOUND
    return UNREACHABLE if isinstance(error, Unavailable) else FAILED
