"""What every test may ask for: the real servers named by the environment, and unique names on them."""

from __future__ import annotations

import os
import signal
import uuid
from typing import NamedTuple

import pytest

pytest.register_assert_rewrite("tests.holdings")

# What a shell puts in the background ignores interrupts, and so would every process a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

_VARIABLES = {
    "kafka": "PIPELINE_TEST_KAFKA",
    "s3": "PIPELINE_TEST_S3_ENDPOINT",
    "postgres": "PIPELINE_TEST_POSTGRES",
    "opensearch": "PIPELINE_TEST_OPENSEARCH",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a server that the environment does not name; CI names them all."""
    for item in items:
        for marker, variable in _VARIABLES.items():
            if item.get_closest_marker(marker) and not os.environ.get(variable):
                item.add_marker(pytest.mark.skip(reason=f"needs {variable}"))


class S3Server(NamedTuple):
    """The S3 server of the environment."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    bucket: str


@pytest.fixture(scope="session")
def kafka_address() -> str:
    """Give host:port of the real Kafka."""
    return os.environ["PIPELINE_TEST_KAFKA"]


@pytest.fixture(scope="session")
def s3_server() -> S3Server:
    """Give the real S3 server."""
    names = ("ENDPOINT", "REGION", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    return S3Server(*(os.environ[f"PIPELINE_TEST_S3_{name}"] for name in names))


@pytest.fixture(scope="session")
def postgres_dsn() -> str:
    """Give the DSN of the real PostgreSQL."""
    return os.environ["PIPELINE_TEST_POSTGRES"]


@pytest.fixture(scope="session")
def opensearch_url() -> str:
    """Give the URL of the real OpenSearch."""
    return os.environ["PIPELINE_TEST_OPENSEARCH"]


@pytest.fixture
def unique() -> str:
    """Give a name nothing else on the shared servers has."""
    return "t" + uuid.uuid4().hex[:12]
