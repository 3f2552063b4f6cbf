"""The Kafka log while the brokers are away, at the start and in the middle, refusing or silent."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import ssl
import struct
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import limits
from pipeline.errors import NotFound, SettingError, Unavailable
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import NewRecord, TopicPartition, TopicSpec
from tests.doors import Door

TIMEOUT_SECONDS = 2.0


def kafka_door(address: str) -> Door:
    host, port = address.rsplit(":", 1)
    return Door(host, int(port))


async def open_door(door: Door, address: str) -> None:
    """Open it, and let the brokers tell the door's address as theirs."""
    await door.open()
    host, port = address.rsplit(":", 1)
    name = struct.pack(">h", len(host)) + host.encode()
    door.replaced = (name + struct.pack(">i", int(port)), name + struct.pack(">i", door.port))


@pytest.fixture
async def door(kafka_address: str) -> AsyncIterator[Door]:
    made = kafka_door(kafka_address)
    await open_door(made, kafka_address)
    yield made
    await made.shut()


@pytest.fixture
async def log(door: Door) -> AsyncIterator[KafkaLog]:
    made = KafkaLog(KafkaConnection((f"127.0.0.1:{door.port}",)), timeout_seconds=TIMEOUT_SECONDS)
    yield made
    await made.close()


async def eventually(act: Callable[[], Awaitable[Any]]) -> Any:
    """Try until it works; what is tested is that it does with the same object."""
    while True:
        try:
            return await act()
        except Unavailable:
            await asyncio.sleep(0.05)


async def values(log: KafkaLog, place: TopicPartition) -> list[bytes | None]:
    end = (await log.bounds([place]))[place].end
    reader = log.reader({place: 0})
    found: list[bytes | None] = []
    while reader.positions()[place] < end:
        records = await reader.read(max_records=100, wait_seconds=TIMEOUT_SECONDS)
        found += [record.value for record in records]
    await reader.close()
    return found


@pytest.mark.kafka
@pytest.mark.parametrize("silent", [False, True])
async def test_a_log_whose_brokers_are_away_at_the_start_says_so_and_opens_later(
    door: Door, log: KafkaLog, unique: str, silent: bool
) -> None:
    if silent:
        door.silent = True
    else:
        await door.shut()
    with pytest.raises(Unavailable):
        await log.open()
    with pytest.raises(Unavailable):
        await log.append([NewRecord(unique, b"k", b"v")])

    if silent:
        door.silent = False
        await door.slam()
    else:
        await door.open()
    await eventually(log.open)
    await log.create_topics([TopicSpec(unique)])
    assert (await log.append([NewRecord(unique, b"k", b"v")]))[0].offset == 0


@pytest.mark.kafka
async def test_everything_says_so_while_the_brokers_are_away_and_works_again_after(
    door: Door, log: KafkaLog, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = TopicPartition(unique, 0)
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    await log.append([NewRecord(unique, b"k", b"before")])
    await log.commit(unique, {place: 1})
    reader = log.reader({place: 0})
    assert len(await reader.read(max_records=10, wait_seconds=10)) == 1

    await door.shut()

    async def read_until_it_says_so() -> None:
        while not await reader.read(max_records=10, wait_seconds=0.2):
            pass

    calls: list[Awaitable[Any]] = [
        log.append([NewRecord(unique, b"k", b"lost?")]),
        log.append([NewRecord(unique, b"k", b"lost?")]),
        log.bounds([place]),
        log.commit(unique, {place: 9}),
        log.committed(unique, [place]),
        log.topics(),
        log.create_topics([TopicSpec(f"{unique}.b")]),
        read_until_it_says_so(),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Unavailable] * len(calls)

    await door.open()
    await eventually(lambda: log.append([NewRecord(unique, b"k", b"after")]))
    found = await eventually(lambda: values(log, place))
    assert (found[0], found[-1]) == (b"before", b"after")
    assert set(found[1:-1]) <= {b"lost?"}
    assert await log.committed(unique, [place]) == {place: 1}
    await log.commit(unique, {place: 2})
    assert await log.committed(unique, [place]) == {place: 2}
    assert await eventually(lambda: reader.read(max_records=1, wait_seconds=TIMEOUT_SECONDS))
    await reader.close()
    gc.collect()  # asyncio complains of errors nobody took when they are thrown away
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.kafka
async def test_an_append_whose_answer_is_lost_is_never_written_twice(
    door: Door, log: KafkaLog, unique: str
) -> None:
    """The producer sends it again by itself; its sequence number tells the broker that it is the same."""
    place = TopicPartition(unique, 0)
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    await log.append([NewRecord(unique, b"k", b"first")])
    door.lose_answer_to = b"the one whose answer is lost"
    await log.append([NewRecord(unique, b"k", door.lose_answer_to)])
    assert door.lost.is_set()
    assert await values(log, place) == [b"first", b"the one whose answer is lost"]


@pytest.mark.kafka
async def test_connections_that_break_again_and_again_lose_nothing_acknowledged(
    door: Door, log: KafkaLog, unique: str
) -> None:
    place = TopicPartition(unique, 0)
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    told: list[bytes] = []

    async def write() -> None:
        for number in range(60):
            new = NewRecord(unique, b"k", b"%d" % number)
            await eventually(partial(log.append, [new]))
            told.append(b"%d" % number)

    writing = asyncio.create_task(write())
    reached = 0
    while not writing.done():
        if len(told) >= reached + 7:
            reached = len(told)
            await door.slam()
        await asyncio.sleep(0)
    await writing
    found = await eventually(lambda: values(log, place))
    assert set(told) <= set(found)
    assert sorted(set(found), key=found.index) == told


@pytest.mark.kafka
async def test_libraries_never_flood_the_log_while_the_brokers_are_away(
    door: Door, log: KafkaLog, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    readers = [log.reader({TopicPartition(unique, 0): 0}) for _ in range(5)]
    for reader in readers:
        await reader.read(max_records=1, wait_seconds=0)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="aiokafka"):
        await door.shut()
        with pytest.raises(Unavailable):
            await log.append([NewRecord(unique, b"k", b"v")])
    for reader in readers:
        await reader.close()
    kinds = Counter(
        (record.name, record.msg) for record in caplog.records if record.name.startswith("aiokafka")
    )
    assert max(kinds.values(), default=0) <= limits.LOG_LINES_PER_WINDOW


@pytest.mark.kafka
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_others_wrote_compressed_is_read(
    kafka_address: str, log: KafkaLog, unique: str, codec: str
) -> None:
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address, compression_type=codec)
    await producer.start()
    await producer.send_and_wait(unique, b"v" * 1000)
    await producer.stop()
    assert await values(log, TopicPartition(unique, 0)) == [b"v" * 1000]


# --- TLS ---


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=door", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, *subject, "-out", str(files[0]), "-keyout", str(files[1])],
        check=True,
        capture_output=True,
    )
    return files


@pytest.mark.kafka
async def test_tls_reaches_a_broker_it_trusts_and_no_other(
    kafka_address: str, unique: str, certificate: tuple[Path, Path]
) -> None:
    door = kafka_door(kafka_address)
    door.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    door.tls.load_cert_chain(*certificate)
    await open_door(door, kafka_address)
    address = (f"127.0.0.1:{door.port}",)
    log = KafkaLog(KafkaConnection(address, tls=True, ca_file=str(certificate[0])), timeout_seconds=5)
    await log.open()
    await log.create_topics([TopicSpec(unique)])
    await log.append([NewRecord(unique, b"k", b"v")])
    assert await values(log, TopicPartition(unique, 0)) == [b"v"]
    await log.close()

    untrusting = KafkaLog(KafkaConnection(address, tls=True), timeout_seconds=TIMEOUT_SECONDS)
    with pytest.raises(Unavailable):
        await untrusting.open()
    await untrusting.close()
    await door.shut()


@pytest.mark.parametrize(
    "wrong",
    [
        KafkaConnection(("h:1",), sasl_mechanism="GSSAPI", username="u"),
        KafkaConnection(("h:1",), sasl_mechanism="PLAIN"),
        KafkaConnection(("h:1",), tls=True, ca_file="/nowhere/ca.pem"),
        KafkaConnection(("h:1",), tls=True, certificate_file="/nowhere/c.pem"),
    ],
)
def test_wrong_settings_of_a_connection_are_refused_before_anything_is_sent(wrong: KafkaConnection) -> None:
    with pytest.raises(SettingError):
        client_arguments(wrong)


@pytest.mark.parametrize(
    ("tls", "mechanism", "protocol"),
    [
        (False, None, "PLAINTEXT"),
        (True, None, "SSL"),
        (False, "PLAIN", "SASL_PLAINTEXT"),
        (True, "SCRAM-SHA-512", "SASL_SSL"),
    ],
)
def test_a_connection_never_speaks_less_securely_than_it_was_told(
    tls: bool, mechanism: str | None, protocol: str
) -> None:
    connection = KafkaConnection(
        ("h:1",), tls=tls, sasl_mechanism=mechanism, username="user", password="secret"
    )
    arguments = client_arguments(connection)
    assert arguments["security_protocol"] == protocol
    assert ("ssl_context" in arguments) is tls
    if tls:
        assert arguments["ssl_context"].verify_mode is ssl.CERT_REQUIRED
        assert arguments["ssl_context"].check_hostname
    assert arguments.get("sasl_plain_password") == ("secret" if mechanism else None)


def test_a_password_is_never_shown() -> None:
    connection = KafkaConnection(("h:1",), sasl_mechanism="PLAIN", username="user", password="secret")
    assert "secret" not in f"{connection} {connection!r}"


@pytest.mark.kafka
async def test_reading_what_does_not_exist_is_told_from_brokers_that_are_away(
    log: KafkaLog, unique: str
) -> None:
    await log.open()
    reader = log.reader({TopicPartition(unique, 0): 0})
    with pytest.raises(NotFound):
        await reader.read(max_records=1, wait_seconds=0)
    await reader.close()
