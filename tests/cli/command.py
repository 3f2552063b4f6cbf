"""The command `headrace` as tests run it: in this process for speed, or as a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.cli.main import main
from pipeline.web import presence
from tests.web.site import Site, opened

PATIENCE_SECONDS = 60.0
PROGRAM = (str(Path(sys.executable).with_name("headrace")),)
"""The command as it is installed beside this Python."""


class Result(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        """Standard output by lines."""
        return self.text.splitlines()

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


class Command:
    """Runs `headrace` on one data folder."""

    def __init__(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
    ) -> None:
        self.data = data
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, name: str, *arguments: str | Path, code: int = 0) -> Result:
        """Run a command with ``--data`` and check its exit code."""
        words = [*name.split(), "--data", str(self.data), *map(str, arguments)]
        return self.plain(*words, code=code)

    def plain(self, *arguments: str, code: int = 0) -> Result:
        """Run a command as it is written."""
        self._monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        self._capture.readouterr()
        handlers = logging.getLogger().handlers
        try:
            main()
            found: Any = 0
        except SystemExit as end:
            found = end.code or 0
        finally:
            logging.getLogger().handlers = handlers
        out, err = self._capture.readouterr()
        result = Result(found, out, err.decode())
        assert result.code == code, result
        return result

    def prepare(self, work: Callable[[Site], Awaitable[Any]]) -> Any:
        """Do something to the installation in the folder, over HTTP or beside it, and close it again."""

        async def run() -> Any:
            async with opened(self.data) as site:
                return await work(site)

        return asyncio.run(run())

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run `headrace api` on the folder in a process of its own until the block is left."""
        command = [*PROGRAM, "api", "--data", str(self.data)]
        process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"], env=os.environ, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (note := presence.find(self.data)) is None or note.pid != process.pid:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server did not come up"
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
