"""Files a second through the parser pool, beside the same calls back to back in bare processes.

    python -m benchmarks.identify [--files N] [--size BYTES] [--folder FOLDER]

Without a folder the files are cut from programs and libraries of this machine, `--size` bytes each; with
one, they are the files in it. The reference is as many bare processes as the pool has: each reads its share
of the files and makes, one after the other, md5, sha1, sha256, sha512, ssdeep and TLSH, the two libmagic
questions, the entropy and the YARA scan with the same rules. The file format has no such bare call: it
and everything around it are ours alone. Rounds of both alternate, the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import uvloop

from pipeline.identify.pool import ParserPool

_ROUNDS = 5
_PROCESSES = 2


class Rate(NamedTuple):
    """One measured row: files a second of ours and of the bare calls."""

    name: str
    ours: float
    bare: float


def make_files(folder: Path, count: int, size_bytes: int) -> list[Path]:
    """Fill a folder with files cut from the binaries of this machine."""
    paths = []
    for number, block in enumerate(itertools.islice(_blocks(size_bytes), count)):
        path = folder / f"{number:06}"
        path.write_bytes(block)
        paths.append(path)
    return paths


def _blocks(size_bytes: int) -> Iterator[bytes]:
    folders = [Path(sys.executable).resolve().parent.parent, Path("/usr/bin"), Path("/usr/lib")]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not path.is_symlink() and path.is_file() and path.stat().st_size >= size_bytes:
                data = path.read_bytes()
                for offset in range(0, len(data) - size_bytes + 1, 16 * size_bytes):
                    yield data[offset : offset + size_bytes]


def _bare(pipe: Connection, paths: Sequence[Path]) -> None:
    """Do the same calls over and over, once for each message, and say when done."""
    import numpy as np
    import pydeep
    import tlsh
    import yara_x

    from pipeline.identify.magic import Magic
    from pipeline.identify.rules_folder import read_sources, shipped_rules

    magic = Magic()
    compiler = yara_x.Compiler()
    for source in read_sources(shipped_rules()):
        compiler.add_source(source.text)
    scanner = yara_x.Scanner(compiler.build())
    pipe.send("ready")
    while pipe.recv():
        for path in paths:
            with path.open("rb", buffering=0) as file:
                data = file.read()
                for algorithm in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512):
                    algorithm(data).hexdigest()
                pydeep.hash_buf(data)
                digest = tlsh.Tlsh(data)
                digest.final()
                counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
                np.log2(counts[counts > 0]).sum()
                magic.descriptions(file.fileno())
                magic.mime_type(file.fileno())
                _ = scanner.scan(data).matching_rules
        pipe.send("done")


class BareProcesses:
    """The reference: each process has its share of the files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for share in range(_PROCESSES):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_bare, args=(theirs, paths[share::_PROCESSES]))
            process.start()
            pipe.recv()
            self._pipes.append(pipe)
            self._processes.append(process)

    def round_seconds(self) -> float:
        """Let all do their share once and return how long the slowest took."""
        started = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        for pipe in self._pipes:
            pipe.recv()
        return time.perf_counter() - started

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(False)
            process.join()


async def measure(name: str, paths: Sequence[Path]) -> Rate:
    """Measure the pool and the bare processes turn by turn."""
    bare = BareProcesses(paths)
    best = [float("inf"), float("inf")]
    async with ParserPool(processes=_PROCESSES) as pool:
        await pool.reload_rules()
        await _round(pool, paths)
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            await _round(pool, paths)
            best[0] = min(best[0], time.perf_counter() - started)
            best[1] = min(best[1], bare.round_seconds())
    bare.close()
    return Rate(name, len(paths) / best[0], len(paths) / best[1])


async def _round(pool: ParserPool, paths: Sequence[Path]) -> None:
    """Hand in files the way the enrich agent does: a window of them at a time."""
    todo = iter(paths)

    async def work() -> None:
        for path in todo:
            await pool.identify(path)

    await asyncio.gather(*(work() for _ in range(pool.window)))


def run(*, files: int = 1000, size_bytes: int = 64 * 1024, folder: Path | None = None) -> list[Rate]:
    """Measure; returns the rows."""
    if folder is not None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()][
            :files
        ]
        return [uvloop.run(measure(f"identify {len(paths)} files of {folder}", paths))]
    with tempfile.TemporaryDirectory() as temporary:
        paths = make_files(Path(temporary), files, size_bytes)
        return [uvloop.run(measure(f"identify {len(paths)} files of {size_bytes} bytes", paths))]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64 * 1024)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    for rate in run(files=chosen.files, size_bytes=chosen.size, folder=chosen.folder):
        print(
            f"{rate.name:<44} {rate.ours:>9.0f}/s   bare {rate.bare:>9.0f}/s   {rate.ours / rate.bare:.2f}"
        )


if __name__ == "__main__":
    main()
