"""The command `headrace` as a process of its own: started, watched and killed by tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("headrace"))
PATIENCE_SECONDS = 90.0
"""How long a state may take to come about before the test gives up; never how long one is waited for."""


def write_settings(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write a settings file that says what `settings`, nested, says."""
    lines: list[str] = []
    _tables(lines, "", settings)
    path.write_text("\n".join(lines) + "\n")
    return path


def _tables(lines: list[str], name: str, values: Mapping[str, Any]) -> None:
    if name:
        lines.append(f"[{name}]")
    # Text, numbers, booleans and lists look the same in JSON and in TOML.
    lines += [
        f"{_key(key)} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)
    ]
    for key, value in values.items():
        if isinstance(value, dict):
            _tables(lines, f"{name}.{_key(key)}" if name else _key(key), value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """Return an environment without settings of Headrace, whose user lives in `folder`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    homes = {"HOME": folder, "XDG_CONFIG_HOME": folder / "config", "XDG_DATA_HOME": folder / "share"}
    return {**plain, **{name: str(value) for name, value in homes.items()}, **extra}


class Process:
    """A running `headrace` whose output goes to files.

    Args:
        arguments: What follows the command's name.
        log: Standard error is added to this file, standard output to the one beside it ending in .out.
        environment: All of it.
        before: Words put before the command, for tools that start it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        before: Sequence[str] = (),
    ) -> None:
        self.log = log
        self.out = log.with_suffix(".out")
        with log.open("ab") as errors, self.out.open("ab") as out:
            self._popen = subprocess.Popen(
                [*before, COMMAND, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._popen.send_signal(number)

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Let it do nothing while the block runs, as a machine that is busy elsewhere."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut would, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait(PATIENCE_SECONDS)

    async def ended(self, patience_seconds: float = PATIENCE_SECONDS) -> int:
        """Return its exit code once it has ended."""
        await until(lambda: not self.running, patience_seconds)
        return self._popen.wait()

    async def says(self, words: str) -> None:
        """Return when its log holds the words; fail when it ends before."""
        await until(lambda: words in self.told() or self._dead(words))

    def _dead(self, words: str) -> bool:
        if not self.running and words not in self.told():
            raise AssertionError(f"it ended before it said {words!r}:\n{self.told()[-4000:]}")
        return False

    def told(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")

    def printed(self) -> str:
        """Return its standard output."""
        return self.out.read_text(errors="replace")


@contextlib.contextmanager
def ended_at_last(process: Process) -> Iterator[Process]:
    """Kill a process when the block is left."""
    try:
        yield process
    finally:
        process.kill()


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    before: Sequence[str] = (),
    timeout_seconds: float = PATIENCE_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*before, COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_seconds,
        check=False,
    )


async def until(
    holds: Callable[[], bool] | Callable[[], Awaitable[bool]], patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when the state has come about."""
    async with asyncio.timeout(patience_seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.05)


def children(pid: int) -> list[int]:
    """Return the processes below a process, its children's children too."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*"):
            with contextlib.suppress(OSError):
                below = [int(each) for each in (task / "children").read_text().split()]
                found += below
                waiting += below
    return found


def resident_bytes(pid: int) -> int:
    """Return the memory a process and all below it hold, pages they share counted once."""
    total = 0
    for each in (pid, *children(pid)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def gone(pids: Sequence[int]) -> None:
    """Return when none of these processes runs any more."""
    await until(lambda: not any(map(alive, pids)))
