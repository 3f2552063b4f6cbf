"""The real servers as stanzas and environment for the two commands, with names of their own on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient

from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import NewRecord, TopicSpec
from pipeline.objects.s3_client import S3Client
from pipeline.objects.s3_config import S3Config
from tests.conftest import S3Server
from tests.databases import postgres_schema

DATABASE: Mapping[str, Any] = {"db-type": "local"}


@asynccontextmanager
async def database(dsn: str) -> AsyncIterator[dict[str, str]]:
    """Give the environment of an empty database for ``db-type = "local"``."""
    async with postgres_schema(dsn) as url:
        there = urlsplit(url)
        yield {
            "POSTGRESQL_HOST": there.hostname or "",
            "POSTGRESQL_PORT": str(there.port),
            "POSTGRESQL_USERNAME": there.username or "",
            "POSTGRESQL_PASSWORD": there.password or "",
            "POSTGRESQL_DATABASE": there.path.removeprefix("/"),
            "SCIMMA_ARCH_DB_SCHEMA": there.query.removeprefix("schema="),
        }


def store_environment(server: S3Server) -> dict[str, str]:
    """Return the keys of the S3 server as the commands look for them."""
    return {"S3_ACCESS_KEY_ID": server.access_key, "S3_SECRET_ACCESS_KEY": server.secret_key}


def store(server: S3Server, bucket: str, **more: Any) -> dict[str, Any]:
    """Return a stanza for two buckets of the S3 server."""
    return {
        "store-type": "S3",
        "store-primary-bucket": bucket,
        "store-backup-bucket": f"{bucket}-backup",
        "store-endpoint-url": server.endpoint,
        "store-region-name": server.region,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


@asynccontextmanager
async def buckets(server: S3Server, bucket: str) -> AsyncIterator[None]:
    """Remove both buckets afterwards."""
    try:
        yield
    finally:
        for name in (bucket, f"{bucket}-backup"):
            await _remove(server, name)


async def keys(server: S3Server, bucket: str) -> list[str]:
    """List the keys of a bucket; None of them when there is no bucket."""
    client = _client(server, bucket)
    try:

        async def ask(s3: Any) -> list[str]:
            found = await s3.list_objects_v2(Bucket=bucket)
            return [each["Key"] for each in found.get("Contents", [])]

        return await client.call("list", "look", ask)
    finally:
        await client.close()


def _client(server: S3Server, bucket: str) -> S3Client:
    return S3Client(
        S3Config(bucket, server.region, server.endpoint, server.access_key, server.secret_key, True)
    )


async def _remove(server: S3Server, bucket: str) -> None:
    there = await buckets_of(server)
    if bucket not in there:
        return

    async def remove(s3: Any) -> None:
        for key in kept:
            await s3.delete_object(Bucket=bucket, Key=key)
        await s3.delete_bucket(Bucket=bucket)

    kept = await keys(server, bucket)
    client = _client(server, bucket)
    await client.call("delete bucket", "tidy up", remove)
    await client.close()


async def buckets_of(server: S3Server) -> set[str]:
    """List the buckets there are."""
    client = _client(server, server.bucket)
    try:
        found = await client.call("list buckets", "look", lambda s3: s3.list_buckets())
        return {each["Name"] for each in found["Buckets"]}
    finally:
        await client.close()


def broker(address: str, group: str, **more: Any) -> dict[str, Any]:
    """Return a stanza for the Kafka."""
    host, _, port = address.rpartition(":")
    return {
        "hop-type": "hop",
        "hop-hostname": host,
        "hop-port": int(port),
        "hop-groupname": group,
        "hop-topic-refresh-interval-seconds": 1,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


@asynccontextmanager
async def topics(address: str, *names: str, partitions: int = 1) -> AsyncIterator[KafkaLog]:
    """Make topics and remove them afterwards; gives a log to append with."""
    log = KafkaLog(KafkaConnection((address,)))
    await log.open()
    try:
        await log.create_topics([TopicSpec(name, partitions) for name in names])
        yield log
    finally:
        await log.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        await admin.delete_topics(list(names))
        await admin.close()


def records(topic: str, count: int, first: int = 0) -> Sequence[NewRecord]:
    """Make records that differ."""
    return [
        NewRecord(topic, None, f'{{"n": {n}}}'.encode(), (("_format", b"json"),))
        for n in range(first, first + count)
    ]
