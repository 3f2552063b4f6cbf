"""A folder, a home and an environment of its own for each test of the two commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.housekeeping.command import Commands


@pytest.fixture
def commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Commands]:
    """Give both commands."""
    before = structlog.get_config()
    yield Commands(tmp_path, monkeypatch, capsys)
    structlog.configure(**before)
