"""What several contract suites stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.log.connection import KafkaConnection
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log
from tests.contract.transport_site import Site, embedded_site, kafka_site


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def site(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> AsyncIterator[Site]:
    """Give a log of each kind under Faust."""
    if request.param == "embedded":
        async with embedded_site(tmp_path, unique) as made:
            yield made
    else:
        address: str = request.getfixturevalue("kafka_address")
        async with kafka_site(address, tmp_path, unique) as made:
            yield made


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """Give an open log of each kind."""
    opened: Log
    if request.param == "embedded":
        opened = EmbeddedLog(tmp_path / "log")
    else:
        opened = KafkaLog(KafkaConnection(bootstrap_servers=(request.getfixturevalue("kafka_address"),)))
    await opened.open()
    yield opened
    await opened.close()
