"""What several contract suites stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
