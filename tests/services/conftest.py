"""An installation on the real servers for each test, removed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import S3Server
from tests.services.lab import Lab, Servers


@pytest.fixture
def servers(kafka_address: str, s3_server: S3Server, postgres_dsn: str, opensearch_url: str) -> Servers:
    """Give the four servers of the environment."""
    return Servers(kafka_address, s3_server, postgres_dsn, opensearch_url)


@pytest.fixture
async def lab(tmp_path: Path, unique: str, servers: Servers) -> AsyncIterator[Lab]:
    """Give an installation of its own with unique names on the four servers."""
    made = Lab(servers, unique, tmp_path)
    yield made
    await made.wipe()
