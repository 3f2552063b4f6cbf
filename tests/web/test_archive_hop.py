"""The real hop-client against a served archive: it uploads what Kafka does not take, and reads it back."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.archive.placeholder import METADATA_TOPIC, placeholder
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka.log import KafkaLog
from pipeline.log.port import Record, TopicPartition, TopicSpec
from tests.stores import subprocess_environment
from tests.web.archive_site import PASSWORD, TOKEN, ArchiveSite, archive_site

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
MESSAGE_MAX_BYTES = 20_000
LARGE_BYTES = 300_000


class Hop:
    """hop-client, a topic it writes to, and the archive that the broker names."""

    def __init__(self, archive: ArchiveSite, broker: str, topic: str) -> None:
        self.archive = archive
        self.topic = topic
        self._broker = broker

    async def run(self, what: str, user: str, secret: str, size: int = 0) -> dict[str, Any]:
        """Publish or read in a process of its own."""
        printed = await _run(
            *(sys.executable, "-W", "ignore", "-m", "tests.web.hop_client"),
            *(what, self._broker, self.topic, user, secret, str(size)),
        )
        return dict(msgspec.json.decode(printed))

    async def records(self) -> list[Record]:
        """Return what is on the topic."""
        log = KafkaLog(KafkaConnection((self._broker,)))
        place = TopicPartition(self.topic, 0)
        await log.open()
        try:
            count = (await log.bounds([place]))[place].end
            reader = log.reader({place: 0})
            found: list[Record] = []
            while len(found) < count:
                found += await reader.read(max_records=100, wait_seconds=5)
            await reader.close()
        finally:
            await log.close()
        return found


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=subprocess_environment(),
    )
    printed, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return printed


@pytest.fixture
async def hop(kafka_address: str, unique: str, tmp_path: Path) -> AsyncIterator[Hop]:
    """Give a client, a topic that takes small messages only, and an archive that was announced."""
    topic = f"alerts.p{unique}"
    log = KafkaLog(KafkaConnection((kafka_address,)))
    await log.open()
    await log.create_topics([TopicSpec(topic, 1, 1, {"max.message.bytes": str(MESSAGE_MAX_BYTES)})])
    await log.close()
    try:
        async with archive_site(tmp_path / "archive") as archive:
            await _run(
                *(str(Path(sys.executable).with_name("headrace")), "-s", f"log=kafka://{kafka_address}"),
                *("-s", f"archive.external_url={archive.url}", "archive", "announce"),
                *("--data", str(tmp_path / "command")),
            )
            yield Hop(archive, kafka_address, topic)
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
        await admin.start()
        try:
            await admin.delete_topics([topic, METADATA_TOPIC])
        finally:
            await admin.close()


@pytest.mark.parametrize(("user", "secret"), [("writer", PASSWORD), ("token", TOKEN)])
async def test_a_message_too_large_for_kafka_goes_through_the_archive_and_back(
    hop: Hop, user: str, secret: str
) -> None:
    assert (await hop.run("publish", user, secret, LARGE_BYTES))["failures"] == []
    assert (await hop.run("publish", user, secret, 100))["failures"] == []
    external, small = await hop.records()
    assert dict(external.headers)["_format"] == b"external"
    assert dict(small.headers)["_format"] == b"blob"

    # What the archive has is under the client's own id, and private: nobody said the topic is public.
    (stored,) = (await hop.archive.ask_as("reader", "/messages")).document["messages"]
    uuid = UUID(stored["annotations"]["con_text_uuid"])
    assert stored["annotations"]["con_is_client_uuid"] is True
    assert stored["metadata"]["topic"] == f"{hop.topic}+oversized"
    assert ["_sender", user.encode()] in stored["metadata"]["headers"]
    assert external.value == placeholder(hop.archive.url, uuid).value
    assert (await hop.archive.ask(f"/msg/{uuid}")).status == 401

    read = await hop.run("read", "reader", PASSWORD)
    assert read["failures"] == []
    first, second = read["messages"]
    assert (first["kind"], first["size"], first["whole"]) == ("Blob", LARGE_BYTES, True)
    assert (second["size"], second["whole"]) == (100, True)
    headers = {name: base64.b64decode(value) for name, value in first["headers"]}
    assert headers["title"] == b"A large one"
    assert headers["_id"] == uuid.bytes


async def test_without_the_right_or_the_password_nothing_is_published(hop: Hop) -> None:
    for user, secret in (("nobody", PASSWORD), ("token", "wrong")):
        failures = (await hop.run("publish", user, secret, LARGE_BYTES))["failures"]
        assert len(failures) == 1
    assert await hop.records() == []


async def test_who_may_not_read_is_told_so(hop: Hop) -> None:
    assert (await hop.run("publish", "writer", PASSWORD, LARGE_BYTES))["failures"] == []
    read = await hop.run("read", "nobody", PASSWORD)
    assert read["messages"] == []
    assert "HTTP Error 403" in read["failures"][0]
