"""A served installation and a browser; without a browser on this machine these tests are skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.browser import PROGRAM, Tab, browsing
from tests.web.site import Site, opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a served installation."""
    async with opened(tmp_path / "site") as made:
        yield made


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """Give a page of a browser."""
    if PROGRAM is None:
        pytest.skip("needs chromium")
    async with browsing(tmp_path / "browser") as page:
        yield page
