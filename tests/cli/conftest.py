"""The command on a data folder of its own, untouched by the settings of whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.cli.command import Command


@pytest.fixture
def headrace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Command]:
    """Give the command."""
    for name in list(os.environ):
        if name.startswith(("HEADRACE_", "DP__", "DP.", "BED__")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = structlog.get_config()
    yield Command(tmp_path / "data", monkeypatch, capsysbinary)
    structlog.configure(**before)


@pytest.fixture(params=["alone", "beside a server"])
def either(request: pytest.FixtureRequest, headrace: Command) -> Iterator[Command]:
    """Give the command twice: with nothing else running, and with `headrace api` on the same folder."""
    if request.param == "alone":
        yield headrace
    else:
        with headrace.serving():
            yield headrace
