"""A served installation, and what stands in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.between import Between, in_front_of
from tests.web.site import Site, opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a served installation."""
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def between(site: Site) -> AsyncIterator[Between]:
    """Give what stands in front of the installation."""
    async with in_front_of(site.url) as made:
        yield made
