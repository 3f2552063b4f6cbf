"""Files a second through the whole pipeline, beside the bare calls of identification in two processes.

    python -m benchmarks.scan [--files N] [--folder FOLDER]

*scan*: `headrace scan` over files of this machine (or those of a folder), from the start of the command to
its end, everything durable: objects, events, documents, archive. Once over many kinds, half of an installed
Python and half of the system's programs and libraries, and once over mostly small files, where the fixed
cost of an object, an event and a document shows. *enrich*: the agent alone over
files of 64 KiB whose events wait on the embedded log. The reference of both is `benchmarks.identify`: the
same hash, libmagic and YARA calls, one after the other, in two processes that do nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agents.run import running
from benchmarks.identify import BareProcesses, Rate, make_files
from pipeline.app import make_parts, open_parts
from pipeline.cli.loop import run_loop
from pipeline.events.records import record_of
from pipeline.objects.hashing import hash_bytes
from pipeline.objects.keys import stream_key
from pipeline.settings import load
from pipeline.submission import sourced_event

SOURCE = "testing"
ROUNDS = 3


def programs_and_python(count: int) -> list[Path]:
    """Choose files of many kinds: half of an installed Python, half of the system's own binaries."""
    system = [Path("/usr/bin"), Path("/usr/sbin"), *Path("/usr/lib").glob("*-linux-gnu")]
    return [*sample([Path(sys.base_prefix)], count // 2), *sample(system, count - count // 2)]


def small_files(count: int) -> list[Path]:
    """Choose files as they lie about in a system: mostly small sources, texts and icons."""
    return sample([Path("/usr/share"), Path("/usr/lib")], count)


def sample(folders: Sequence[Path], count: int) -> list[Path]:
    """Choose readable files below folders; always the same ones."""
    found = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
    ]
    return random.Random(1).sample(found, min(count, len(found)))


def scan_seconds(paths: Sequence[Path], data: Path) -> float:
    """Time one `headrace scan` over the files into a new data folder."""
    command = [str(Path(sys.executable).with_name("headrace")), "scan", "--json", "--data", str(data)]
    os.sync()  # what earlier rounds left to be written is not this one's
    started = time.perf_counter()
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, check=True)
    seconds = time.perf_counter() - started
    assert len(done.stdout.splitlines()) == len(paths)
    return seconds


async def enrich_seconds(paths: Sequence[Path], folder: Path) -> float:
    """Time the enrich agent over events that wait for it, from its first record to its last."""
    overrides = {"data": str(folder), "worker": {"agents": ["enrich"]}}
    settings = load(overrides, environment={"XDG_CONFIG_HOME": str(folder)}).settings
    async with open_parts(make_parts(settings)) as parts, running(parts) as agents:
        records = []
        for path in paths:
            data = await asyncio.to_thread(path.read_bytes)
            digest = hash_bytes(data)
            await parts.objects.put(stream_key(SOURCE, "content", digest.sha256), data)
            now = parts.clock.now()
            event = sourced_event(digest, source_name=SOURCE, source_timestamp=now, now=now)
            records.append(record_of(settings.events.prefix, event))
        # One record first, so that the agent and its parser processes are up when the clock starts.
        await parts.log.append(records[:1])
        while await agents.backlog():  # noqa: ASYNC110 - the offsets are on disk
            await asyncio.sleep(0.05)
        await asyncio.to_thread(os.sync)
        started = time.perf_counter()
        await parts.log.append(records[1:])
        while await agents.backlog():  # noqa: ASYNC110 - the offsets are on disk
            await asyncio.sleep(0.01)
        return time.perf_counter() - started


def measure_scan(name: str, paths: Sequence[Path], room: Path) -> Rate:
    """Measure ours and the bare calls turn by turn; the best round of each counts."""
    bare = BareProcesses(paths)
    data = Path(tempfile.mkdtemp(dir=room))
    pairs = [(scan_seconds(paths, data / f"{n}"), bare.round_seconds()) for n in range(ROUNDS)]
    bare.close()
    return _rate(f"scan {len(paths)} files, {name}", len(paths), pairs)


def measure_enrich(room: Path) -> Rate:
    """Measure the agent and the bare calls turn by turn, on the event loop commands run on."""
    even = make_files(Path(tempfile.mkdtemp(dir=room)), 1000, 64 * 1024)
    bare = BareProcesses(even)
    data = room / "enriched"
    pairs = [(run_loop(enrich_seconds(even, data / f"{n}")), bare.round_seconds()) for n in range(ROUNDS)]
    bare.close()
    return _rate(f"enrich {len(even)} files of 64 KiB", len(even), pairs)


def measure(files: int, folder: Path | None) -> list[Rate]:
    """Measure all, or the scan of one folder alone."""
    # Emptied only at the end: some file systems are slow at making files while many were just removed.
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        if folder is not None:
            below = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            return [measure_scan(f"of {folder}", below[:files], room)]
        return [
            measure_scan("Python and programs", programs_and_python(files), room),
            measure_scan("mostly small", small_files(files), room),
            measure_enrich(room),
        ]


def _rate(name: str, count: int, pairs: Sequence[tuple[float, float]]) -> Rate:
    return Rate(name, count / min(ours for ours, _ in pairs), count / min(bare for _, bare in pairs))


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    for rate in measure(chosen.files, chosen.folder):
        print(
            f"{rate.name:<44} {rate.ours:>9.0f}/s   bare {rate.bare:>9.0f}/s   {rate.ours / rate.bare:.2f}"
        )


if __name__ == "__main__":
    main()
