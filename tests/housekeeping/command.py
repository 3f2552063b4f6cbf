"""The commands `housekeeping` and `houseutils` as tests run them: in this process, or as processes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from pipeline.housekeeping import main
from pipeline.housekeeping.keys import FLAT
from tests import processes

Name = Literal["housekeeping", "houseutils"]
_PREFIXES = ("HEADRACE_", "SCIMMA_ARCH_", "POSTGRESQL_", "S3_", "HOP_", "AWS_", "PG")
_FLAT = {name.upper().replace("-", "_") for name in FLAT}


class Result(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


def program(name: Name) -> str:
    """Return a command as it is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def plain_environment(folder: Path, **extra: str) -> dict[str, str]:
    """Return an environment that says nothing about the archive, whose user lives in a folder."""
    kept = processes.environment(folder)
    for name in list(kept):
        if name.startswith(_PREFIXES) or name in _FLAT:
            del kept[name]
    # No test looks for credentials of the machine it runs on.
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **extra}


class Commands:
    """Runs both commands in a folder of their own."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.environment = plain_environment(folder)
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, name: Name, *arguments: str | Path, status: int = 0) -> Result:
        """Run a command in this process and check its exit status."""
        with self._monkeypatch.context() as patched:
            for variable in set(os.environ) - set(self.environment):
                patched.delenv(variable)
            for variable, value in self.environment.items():
                patched.setenv(variable, value)
            patched.chdir(self.folder)
            patched.setattr(sys, "argv", [name, *map(str, arguments)])
            return self._checked(name, status)

    def _checked(self, name: Name, status: int) -> Result:
        self._capture.readouterr()
        root = logging.getLogger()
        handlers, level = root.handlers, root.level
        found: Any = 0
        try:
            getattr(main, name)()
        except SystemExit as end:
            found = end.code or 0
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers = handlers
            root.setLevel(level)
        out, err = self._capture.readouterr()
        result = Result(found, out, err)
        assert result.status == status, result
        return result

    def process(
        self, name: Name, *arguments: str | Path, status: int = 0, answers: str = "", **extra: str
    ) -> Result:
        """Run a command as a process to its end and check its exit status."""
        done = subprocess.run(
            [program(name), *map(str, arguments)],
            env={**self.environment, **extra},
            cwd=self.folder,
            input=answers,
            capture_output=True,
            text=True,
            timeout=processes.PATIENCE_SECONDS,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        assert result.status == status, result
        return result

    def stanzas(self, name: str = "housekeeping.toml", **stanzas: Mapping[str, Any]) -> Path:
        """Write a TOML file of stanzas into the folder; underscores in their names are dashes."""
        named = {stanza.replace("_", "-"): dict(keys) for stanza, keys in stanzas.items()}
        return processes.write_settings(self.folder / name, named)
