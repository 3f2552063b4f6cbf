"""Archives to restore from, logs to restore to, and a look at what came there."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import bson
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database import tables
from pipeline.log.connection import KafkaConnection
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Headers, Log, Record, TopicPartition, TopicSpec

TIME_MS = 1_700_000_000_000
LAYOUTS = ["objects", "packs"]
L = TypeVar("L", bound=Log)
Content = tuple[int | None, bytes | None, bytes | None, Headers]


def shapes(topic: str, partition: int = 0) -> list[Message]:
    """Make a message of every shape: values, keys and headers that are there, empty, null, and many."""
    values: list[bytes | None] = [b"value", b"", None, bytes(range(256)) * 400]
    keys: list[bytes | None] = [b"key", b"", None, b"\xff\x00"]
    headers: list[Headers | None] = [
        None,
        (("_id", bytes(range(16))),),
        (("a", b"1"), ("b", None), ("a", b""), ("a", b"1"), ("ü", b"\xff")),
        (("_id", b"too short"), ("_id", None), ("_test", b"true"), ("_format", b"json")),
    ]
    made = []
    for n in range(16):
        value, key = values[n % 4], keys[n // 4]
        header = headers[(n + n // 4) % 4]
        if header and header[0] == ("_id", bytes(range(16))):
            header = (("_id", UUID(int=n + 1000 * partition + (zlib.crc32(topic.encode()) << 64)).bytes),)
        # Times go back and forth, as those of senders do.
        made.append(Message(topic, partition, 10 + n, TIME_MS + (n * 7) % 16, key, value, header))
    return made


async def keep(
    writer: ArchiveWriter, messages: Sequence[Message], layout: str = "objects"
) -> list[Outcome]:
    """Archive messages of one partition in one of the layouts."""
    outcomes = await (PackWriter(writer) if layout == "packs" else writer).store(messages)
    assert all(outcome.stored for outcome in outcomes)
    return outcomes


async def keep_older(
    archive: Archive, topic: str, number: int, *, key: str | bytes | None, headers: list[list[Any]]
) -> UUID:
    """Archive a message as upstream's first generation did: labelled, and nobody knows where it stood."""
    uuid = UUID(int=number + (zlib.crc32(topic.encode()) << 64))
    payload, timestamp = f"older {number}".encode(), TIME_MS - number
    data = bson.encode(
        {
            "message": {"format": "blob", "content": payload},
            "metadata": {"timestamp": timestamp, "headers": headers, "key": key, "topic": topic},
            "annotations": {
                "con_text_uuid": str(uuid),
                "con_is_client_uuid": False,
                "con_message_crc32": zlib.crc32(payload),
            },
        }
    )
    object_key = f"{topic}/2023/11/14/22/{uuid}.bson"
    await archive.objects.put(object_key, data)
    row = {
        "topic": topic,
        "timestamp": timestamp,
        "uuid": uuid,
        "size": len(data),
        "key": object_key,
        "bucket": "",
        "crc32": zlib.crc32(data),
        "is_client_uuid": False,
        "public": True,
        "direct_upload": False,
        "message_crc32": zlib.crc32(payload),
        "layout": 1,
    }

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(tables.messages), row)
        statistics = {"topic": topic, "n_messages": 1, "e_timestamp": timestamp, "l_timestamp": timestamp}
        there = await connection.execute(tables.topics.select().where(tables.topics.c.topic == topic))
        if there.one_or_none() is None:
            await connection.execute(insert(tables.topics), statistics)

    await archive.database.write("test", write)
    return uuid


async def records_of(log: Log, topic: str) -> dict[int, list[Record]]:
    """Read everything a topic holds, by partition; nothing of a topic that is not there."""
    found: dict[int, list[Record]] = {}
    for partition in range((await log.topics()).get(topic, 0)):
        place = TopicPartition(topic, partition)
        bounds = (await log.bounds([place]))[place]
        position, found[partition] = bounds.start, []
        while position < bounds.end:
            fetched = await log.fetch(place, position, max_records=1000, max_bytes=1 << 20)
            found[partition] += fetched.records
            position = fetched.next
    return found


def content(each: Record | Message) -> Content:
    """Give everything a message is."""
    return (each.timestamp_ms, each.key, each.value, tuple(each.headers or ()))


async def contents_of(log: Log, topic: str) -> dict[int, list[Content]]:
    """Give everything the messages of a topic are, by partition."""
    found = await records_of(log, topic)
    return {partition: [content(each) for each in records] for partition, records in found.items()}


async def new_topic(log: Log, name: str, partitions: int = 1, **config: str) -> str:
    """Make a topic that keeps what it gets unless told otherwise: what is restored is old when it comes."""
    written = {"retention.ms": "-1"} | {key.replace("_", "."): value for key, value in config.items()}
    await log.create_topics([TopicSpec(name, partitions, config=written)])
    return name


@asynccontextmanager
async def opened(log: L) -> AsyncIterator[L]:
    """Open a log and close it again."""
    await log.open()
    try:
        yield log
    finally:
        await log.close()


def log_at(address: str) -> Log:
    """Make the log an address names: a folder or host:port of a Kafka."""
    return EmbeddedLog(Path(address)) if "/" in address else KafkaLog(KafkaConnection((address,)))


def many(topic: str, count: int, partitions: int) -> list[Message]:
    """Make small messages over some partitions, each different."""
    return [
        Message(topic, n % partitions, n // partitions, TIME_MS + n, b"k%d" % (n % 7), b"value %d" % n)
        for n in range(count)
    ]


async def keep_many(writer: ArchiveWriter, messages: Sequence[Message]) -> None:
    """Archive messages of several partitions in packs."""
    for partition in sorted({message.partition or 0 for message in messages}):
        await keep(writer, [each for each in messages if each.partition == partition], "packs")


async def remove_topics(address: str, part: str) -> None:
    """Remove the topics of a Kafka whose names contain something."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if part in name]
        if names:
            await admin.delete_topics(names)
    finally:
        await admin.close()
