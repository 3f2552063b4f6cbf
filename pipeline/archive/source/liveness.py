"""The liveness file: says when the archive last looked for topics, and a checker for it (section 17.3).

    python -m pipeline.archive.source.liveness FILE [TOLERANCE_SECONDS]

ends with status 1 when the file is missing, unreadable or too old. The file holds nanoseconds of the TAI
clock as decimal text, as upstream's does; it is replaced whole, so nobody reads half of it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pipeline import limits_archive

_NANOSECONDS = 1_000_000_000


def write(file: Path) -> None:
    """Say that the archive is alive. Raises `OSError`."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(str(time.clock_gettime_ns(time.CLOCK_TAI)), encoding="ascii")
    part.replace(file)


def trouble(file: Path, tolerance_seconds: float = limits_archive.LIVENESS_SECONDS) -> str | None:
    """Say in one sentence why a file does not show that the archive is alive; None when it does."""
    try:
        written = int(file.read_text(encoding="ascii"))
    except OSError as error:
        return f"liveness file {file}: {error.strerror or error}"
    except ValueError:
        return f"liveness file {file}: it holds no time"
    age_seconds = (time.clock_gettime_ns(time.CLOCK_TAI) - written) / _NANOSECONDS
    if age_seconds > tolerance_seconds:
        return f"liveness file {file}: {age_seconds:.0f} s old, allowed are {tolerance_seconds:g} s"
    return None


def main(arguments: list[str]) -> int:
    """Check the file the arguments name; return the exit status."""
    try:
        file, tolerance = [*arguments, str(limits_archive.LIVENESS_SECONDS)][:2]
        reason = trouble(Path(file), float(tolerance))
    except ValueError:
        sys.stderr.write("usage: python -m pipeline.archive.source.liveness FILE [TOLERANCE_SECONDS]\n")
        return 2
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
