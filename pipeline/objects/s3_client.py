"""The client for what obstore cannot do on S3: making a bucket, and uploads and copies in parts.

aiobotocore costs half a second to load, so it is loaded by the first call that needs it; plain reading and
writing never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from pipeline import limits, outside
from pipeline.objects import s3_faults
from pipeline.objects.s3_config import S3Config
from pipeline.objects.threads import in_thread

T = TypeVar("T")

PART = "object store"
"""How the store is called in metrics and messages."""
_DEFAULT_REGION = "us-east-1"  # the one region that must not be named when a bucket is made


class S3Client:
    """Calls of the S3 interface on one bucket, each with time limit, bounded tries and metric.

    Args:
        config: The bucket.
    """

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def call(
        self,
        name: str,
        tried: str,
        request: Callable[[Any], Awaitable[T]],
        *,
        attempts: int = limits.CALL_ATTEMPTS,
    ) -> T:
        """Make one request with the client, repeated while the fault is a passing one.

        Args:
            name: The kind of call, for metrics.
            tried: What is being done, for messages.
            request: Gets the client of aiobotocore and makes the call.
            attempts: Tries at most; 1 where a repeated call would mean something else.
        """
        client = await self._opened()

        async def attempt() -> T:
            from botocore.exceptions import BotoCoreError, ClientError

            try:
                return await request(client)
            except (BotoCoreError, ClientError) as error:
                raise s3_faults.from_botocore(tried, error) from error

        timeout_seconds = limits.OBJECT_CALL_TIMEOUT_SECONDS
        return await outside.call(PART, name, attempt, timeout_seconds=timeout_seconds, attempts=attempts)

    async def close(self) -> None:
        """Let go of connections; safe to repeat."""
        self._client = None
        await self._stack.aclose()

    async def create_bucket(self) -> None:
        """Make the bucket; harmless when it exists."""
        options: dict[str, Any] = {"Bucket": self._config.bucket}
        if self._config.region != _DEFAULT_REGION:
            options["CreateBucketConfiguration"] = {"LocationConstraint": self._config.region}

        async def create(client: Any) -> None:
            try:
                await client.create_bucket(**options)
            except client.exceptions.BucketAlreadyOwnedByYou:
                return

        await self.call("create bucket", f"make the bucket {self._config.shown}", create)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                session = await in_thread(_load, self._config)
                self._client = await self._stack.enter_async_context(_connect(session, self._config))
            return self._client


def _connect(session: Any, config: S3Config) -> Any:
    from aiobotocore.config import AioConfig

    return session.create_client(
        "s3",
        region_name=config.region,
        endpoint_url=config.endpoint,
        aws_access_key_id=config.access_key,
        aws_secret_access_key=config.secret_key,
        config=AioConfig(
            connect_timeout=limits.S3_CONNECT_TIMEOUT_SECONDS,
            read_timeout=limits.OBJECT_CALL_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1},  # repeated by pipeline.outside
            # Compatible servers do not all know the newer checksums; there the signature covers the bytes.
            request_checksum_calculation="when_required" if config.endpoint else "when_supported",
            s3={"addressing_style": "path" if config.endpoint else "auto"},
        ),
    )


def _load(config: S3Config) -> Any:
    """Load the library and, by a client thrown away, its service descriptions. Blocks for half a second."""
    from aiobotocore.session import get_session

    session = get_session()

    async def connect_once() -> None:
        async with _connect(session, config) as client:
            client.get_paginator("list_multipart_uploads")

    asyncio.run(connect_once())
    return session
