"""The archive of another Kafka, which lets in only who proves to be somebody: SCRAM, plain and over TLS."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.storing import parking
from pipeline.archive_source import group_of
from pipeline.errors import Unavailable
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import TopicSpec
from tests.agents.archiving import (
    archive_settings,
    archived,
    archiving,
    committed,
    feed,
    places,
    until_archived,
)
from tests.agents.installation import parked_entries, settled
from tests.odd_records import ODD_NAME, append_odd
from tests.secure_kafka import PASSWORD, USER, SecureKafka, software

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureKafka]:
    """Give one broker for all of these tests."""
    jars = software()
    assert jars is not None, "no Kafka in PIPELINE_SERVICES_CACHE; `services install kafka` puts it there"
    folder = Path(tempfile.mkdtemp(prefix="headrace-kafka-"))
    broker = SecureKafka(folder, jars)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def there(secure: SecureKafka) -> AsyncIterator[KafkaLog]:
    """Give the broker's log, as its owner sees it."""
    log = KafkaLog(KafkaConnection((secure.open_address,)))
    await log.open()
    yield log
    await log.close()


def login(secure: SecureKafka, *, tls: bool, password: str = PASSWORD) -> dict[str, Any]:
    files = {"ca_file": str(secure.ca_file)} if tls else {}
    return {
        "tls": tls,
        "sasl_mechanism": "SCRAM-SHA-512",
        "password": password,
        "session_seconds": 6.0,
        **files,
    }


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_another_kafka_is_archived_and_nothing_is_ever_written_there(
    secure: SecureKafka, there: KafkaLog, tmp_path: Path, unique: str, tls: bool
) -> None:
    address = secure.tls_address if tls else secure.plain_address
    a, b, missing = f"{unique}.a", f"{unique}.b", f"{unique}.missing"
    await there.create_topics([TopicSpec(name, 2) for name in (a, b, f"{unique}.other")])
    settings = archive_settings(
        tmp_path,
        unique,
        source=f"kafka://{USER}@{address}/{a},{b},{missing}",
        kafka=login(secure, tls=tls),
    )
    assert group_of(settings) == f"{USER}-archive"
    await feed(there, a, 20, partition=1)
    now_ms = int(time.time() * 1000)
    await append_odd(KafkaConnection((secure.open_address,)), b, [b"1", b"2", b"3"], odd=1, start_ms=now_ms)
    topics = await there.topics()
    async with archiving(settings) as (parts, agents):
        await settled(agents)
        await until_archived(parts, a, 0, 20)
        assert await archived(parts, b) == places(3) - places(2) + places(1)
        # What cannot be stored, because a header's name is no text, is told in our own log.
        (entry,) = await parked_entries(parts)
        assert (entry.topic, entry.offset) == (b, 1)
        assert entry.raw_names == (b"plain", ODD_NAME)
        (row,) = await parking.listed(parts.database)
        assert (row.topic, row.kafka_offset) == (b, 1)
        assert not any(name.startswith(unique) for name in await parts.log.topics())
    assert await there.topics() == topics
    assert await committed(there, group_of(settings), a, 2) == [0, 20]
    assert await committed(there, group_of(settings), b, 2) == [3, 0]


async def test_a_wrong_password_is_told_and_the_archive_begins_when_it_is_right(
    secure: SecureKafka, tmp_path: Path, unique: str
) -> None:
    settings = archive_settings(
        tmp_path,
        unique,
        source=f"kafka://{USER}@{secure.plain_address}",
        kafka=login(secure, tls=False, password="wrong"),
    )
    async with archiving(settings) as (_, agents):
        with pytest.raises(Unavailable, match="let us in"):
            await agents.backlog()
        assert agents.trouble()
