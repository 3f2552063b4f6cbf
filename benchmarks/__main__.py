"""Run every benchmark, one after the other, each in a process of its own.

    python -m benchmarks [NAME ...]

NAME: events, log, transport, objects, identify, index, archive, restore, archive_text, scan, hub,
hub_fetch, hub_streams, tasks

Each row has a figure of ours, the figure of a bare reference measured in the same run, and their ratio.
Rows on real servers are measured when the environment names them (PIPELINE_TEST_KAFKA and its like).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

BENCHMARKS: dict[str, list[str]] = {
    "events": [],
    "log": ["--kafka"] if os.environ.get("PIPELINE_TEST_KAFKA") else [],
    "transport": [],
    "objects": ["."],
    "identify": [],
    "index": ["--opensearch"] if os.environ.get("PIPELINE_TEST_OPENSEARCH") else [],
    "archive": [],
    "restore": [],
    "archive_text": [],
    "scan": [],
    "hub": [],
    "hub_fetch": [],
    "hub_streams": [],
    "tasks": [],
}


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    failed = 0
    for name in chosen:
        print(f"\n{name}", flush=True)
        failed |= subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name]], check=False
        ).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
