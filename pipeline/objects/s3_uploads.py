"""Uploads and copies in parts: one object of any size, whole at the end, or nothing and no part left.

They are ours because obstore leaves the parts of a cancelled upload behind and cannot combine parts with a
condition. Memory of one upload: `limits.S3_PARTS_AT_ONCE` parts and the one being gathered.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import HeadraceError
from pipeline.objects.s3_client import S3Client
from pipeline.objects.s3_config import S3Config
from pipeline.objects.threads import settle

log = structlog.get_logger(__name__)

CONTENT_TYPE = "binary/octet-stream"
"""Of every object (dispatcher contract, section 18)."""

_Send = Callable[[int], Awaitable[str]]
"""Sends the part of a number and returns its entity tag."""


class Uploads:
    """Large objects of one bucket. Paths are whole, with the configured prefix.

    Args:
        client: Makes the calls.
        config: The bucket.
        clock: Tells which unfinished uploads are old.
    """

    def __init__(self, client: S3Client, config: S3Config, clock: Clock) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._swept = False

    async def put(
        self, path: str, blocks: AsyncIterable[bytes], *, only_if_absent: bool, metadata: Mapping[str, str]
    ) -> int:
        """Upload blocks of `limits.S3_PART_BYTES` as one object and return its size.

        Raises:
            Conflict: The object exists and `only_if_absent` was asked for.
        """
        async with self._upload(path, metadata) as upload:
            size_bytes = await upload.send(blocks)
            await upload.complete(only_if_absent=only_if_absent)
        return size_bytes

    async def copy(
        self, source_path: str, target_path: str, size_bytes: int, metadata: Mapping[str, str]
    ) -> None:
        """Copy an object too large for one request, range by range, inside the store."""
        async with self._upload(target_path, metadata) as upload:
            await upload.copy_from(source_path, size_bytes)
            await upload.complete(only_if_absent=False)

    @asynccontextmanager
    async def _upload(self, path: str, metadata: Mapping[str, str]) -> AsyncIterator[_Upload]:
        await self._sweep_once()
        target = {"Bucket": self._config.bucket, "Key": path}
        options = {"Metadata": dict(metadata), "ContentType": CONTENT_TYPE}
        begun = await self._client.call(
            "begin upload", f"store {path}", lambda s3: s3.create_multipart_upload(**target, **options)
        )
        # A process killed from here on leaves parts; the sweep of a later one removes them.
        upload = _Upload(self._client, path, {**target, "UploadId": begun["UploadId"]})
        try:
            yield upload
        finally:
            if not upload.completed:
                await settle(asyncio.ensure_future(upload.abort()))

    async def _sweep_once(self) -> None:
        """Remove uploads that processes left unfinished long ago; a fault here only costs space."""
        if self._swept:
            return
        self._swept = True
        try:
            await self._client.call("list uploads", f"list uploads in {self._config.shown}", self._sweep)
        except HeadraceError as error:
            log.warning("unfinished uploads not removed", reason=str(error))

    async def _sweep(self, s3: Any) -> None:
        oldest = self._clock.now() - dt.timedelta(seconds=limits.S3_UPLOAD_STALE_SECONDS)
        bucket = {"Bucket": self._config.bucket}
        pages = s3.get_paginator("list_multipart_uploads").paginate(**bucket, Prefix=self._config.path(""))
        async for page in pages:
            for left in page.get("Uploads", []):
                if left["Initiated"] < oldest:
                    await s3.abort_multipart_upload(**bucket, Key=left["Key"], UploadId=left["UploadId"])
                    log.warning("removed an unfinished upload", key=left["Key"])


class _Upload:
    """An upload that has begun."""

    def __init__(self, client: S3Client, path: str, which: Mapping[str, str]) -> None:
        self._client = client
        self._path = path
        self._which = which
        self._tags: dict[int, str] = {}
        self.completed = False

    async def send(self, blocks: AsyncIterable[bytes]) -> int:
        """Send blocks as parts and return how many bytes they had."""
        size_bytes = 0

        async def parts() -> AsyncIterator[_Send]:
            nonlocal size_bytes
            async for block in blocks:
                size_bytes += len(block)
                yield partial(self._send, block)

        await self._each(parts())
        return size_bytes

    async def copy_from(self, source_path: str, size_bytes: int) -> None:
        """Let the store copy another object of the bucket range by range."""

        async def parts() -> AsyncIterator[_Send]:
            for first in range(0, size_bytes, limits.S3_COPY_PART_BYTES):
                last = min(first + limits.S3_COPY_PART_BYTES, size_bytes) - 1
                yield partial(self._copy, source_path, f"bytes={first}-{last}")

        await self._each(parts())

    async def _each(self, parts: AsyncIterator[_Send]) -> None:
        """Send every part, a few at once; the first error stops all and is the one raised."""
        free = asyncio.Semaphore(limits.S3_PARTS_AT_ONCE)
        failed: BaseException | None = None

        async def send_one(number: int, send: _Send) -> None:
            self._tags[number] = await send(number)
            free.release()

        try:
            async with asyncio.TaskGroup() as sending:
                number = 0
                async for send in parts:
                    number += 1
                    await free.acquire()
                    sending.create_task(send_one(number, send))
        except BaseExceptionGroup as group:
            failed = group.exceptions[0]
        if failed is not None:
            raise failed

    async def _send(self, block: bytes, number: int) -> str:
        tried = f"store {self._path}"
        answer = await self._client.call(
            "upload part", tried, lambda s3: s3.upload_part(**self._which, PartNumber=number, Body=block)
        )
        return str(answer["ETag"])

    async def _copy(self, source_path: str, span: str, number: int) -> str:
        source = {
            "CopySource": {"Bucket": self._which["Bucket"], "Key": source_path},
            "CopySourceRange": span,
        }
        answer = await self._client.call(
            "copy part",
            f"copy {source_path}",
            lambda s3: s3.upload_part_copy(**self._which, PartNumber=number, **source),
        )
        return str(answer["CopyPartResult"]["ETag"])

    async def complete(self, *, only_if_absent: bool) -> None:
        """Make the object of the parts sent; from here on it is there, whole.

        A conditional one is tried once: repeated, it could not tell its own success from another's.
        """
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(self._tags.items())]
        options: dict[str, Any] = {"MultipartUpload": {"Parts": parts}}
        if only_if_absent:
            options["IfNoneMatch"] = "*"
        await self._client.call(
            "complete upload",
            f"store {self._path}",
            lambda s3: s3.complete_multipart_upload(**self._which, **options),
            attempts=1 if only_if_absent else limits.CALL_ATTEMPTS,
        )
        self.completed = True

    async def abort(self) -> None:
        """Remove the parts sent; when that fails too they cost space until a later sweep."""

        async def remove(s3: Any) -> None:
            with suppress(s3.exceptions.NoSuchUpload):
                await s3.abort_multipart_upload(**self._which)

        try:
            await self._client.call("abort upload", f"give up {self._path}", remove)
        except HeadraceError as error:
            log.warning("unfinished upload not removed", key=self._path, reason=str(error))
