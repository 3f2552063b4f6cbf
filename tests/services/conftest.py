"""An installation on the real servers for each test, removed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import S3Server
from tests.services import servers as own_servers
from tests.services.lab import Lab, Servers
from tests.services.servers import OwnServers


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServers]:
    """Give a set of servers that this module may stop."""
    if own_servers.command() is None:
        pytest.skip(f"needs {own_servers.VARIABLE}, the command that starts and stops servers")
    made = OwnServers()
    try:
        yield made
    finally:
        made.wipe()


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
