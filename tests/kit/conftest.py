"""A served installation with the stand-in that hands out in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.standin import StandIn, in_front_of
from tests.web.site import Site, opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a served installation."""
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def standin(site: Site) -> AsyncIterator[StandIn]:
    """Give what hands out, in front of the installation."""
    async with in_front_of(site.url) as made:
        yield made
