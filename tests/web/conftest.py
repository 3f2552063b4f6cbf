"""A served installation for each test of the web surface, and what was logged meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from structlog.testing import capture_logs

from tests.web.archive_site import KINDS, ArchiveSite, archive_site, servers
from tests.web.fetching import Hub
from tests.web.site import Site, opened


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Give what was logged; a test that caused a failure nobody expected fails, unless it empties this."""
    with capture_logs() as entries:
        yield entries
    failures = [entry for entry in entries if entry["log_level"] == "error"]
    assert not failures, failures


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a served installation; a handler that blocks the event loop fails the test."""
    async with opened(tmp_path) as made:
        with blockbuster_ctx("pipeline.web"):
            yield made


@pytest.fixture
def hub(site: Site) -> Hub:
    """Give the hub of the served installation."""
    return Hub(site.client, site.url)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[ArchiveSite]:
    """Give a served archive; a handler that blocks the event loop fails the test."""
    async with archive_site(tmp_path) as made:
        with blockbuster_ctx("pipeline.web"):
            yield made


@pytest.fixture(params=KINDS)
async def any_archive(
    request: pytest.FixtureRequest, tmp_path: Path, unique: str
) -> AsyncIterator[ArchiveSite]:
    """Give a served archive, on files and on the real servers."""
    async with servers(request, unique) as sections, archive_site(tmp_path, sections=sections) as made:
        yield made
