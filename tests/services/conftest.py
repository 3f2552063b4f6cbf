"""An installation on the real servers for each test, removed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import S3Server
from tests.services.lab import Lab, Servers


@pytest.fixture
def servers(kafka_address: str, s3_server: S3Server, postgres_dsn: str, opensearch_url: str) -> Servers:
    """Give the four servers of the environment."""
    return Servers(kafka_address, s3_server, postgres_dsn, opensearch_url)


@pytest.fixture
async def lab_with(tmp_path: Path, unique: str, servers: Servers) -> AsyncIterator[Callable[..., Lab]]:
    """Give a maker of an installation with unique names on the four servers; it takes settings."""
    made: list[Lab] = []

    def make(**settings: Any) -> Lab:
        made.append(Lab(servers, unique, tmp_path, settings))
        return made[-1]

    yield make
    for lab in made:
        await lab.wipe()


@pytest.fixture
def lab(lab_with: Callable[..., Lab]) -> Lab:
    """Give an installation with unique names on the four servers."""
    return lab_with()
