"""An object store in a bucket of AWS S3 or of a compatible server.

Keeps the contract of `pipeline.objects.port`. Requests of one piece go through obstore, which costs least,
in threads: its own asyncio binding can abort the process when the interpreter ends. Uploads and copies in
parts are in `pipeline.objects.s3_uploads`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore.store
from obstore.exceptions import BaseError

from pipeline import limits, outside
from pipeline.clock import Clock, SystemClock
from pipeline.errors import BadInput, NotFound, SettingError, Unavailable
from pipeline.objects import keys, ranges, s3_faults, sources
from pipeline.objects import metadata as labels
from pipeline.objects.drafts import SpooledDraft, spooled_draft
from pipeline.objects.memory import MemoryDownload
from pipeline.objects.port import Download, Stat
from pipeline.objects.s3_client import PART, S3Client
from pipeline.objects.s3_config import S3Config
from pipeline.objects.s3_download import S3Download
from pipeline.objects.s3_uploads import CONTENT_TYPE, Uploads
from pipeline.objects.s3_versions import BucketVersions
from pipeline.objects.scratch import Scratch
from pipeline.objects.spool import spooled
from pipeline.objects.threads import Threads
from pipeline.objects.versions import Versions

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta

T = TypeVar("T")
_HEADERS = {
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "cache-control",
    "storage-class",
}
_WHOLE_BODY = dt.timedelta(days=7)
"""Time a body may take in all; a silent server is noticed much sooner, by the time each read may take."""


class S3Store:
    """Objects in a bucket, which is made when missing.

    Args:
        config: The bucket and how to enter it.
        spool: Folder for local copies and for uploads whose key is not known yet.
        clock: Gives the time reported by `put`; `stat` and `list` give the server's.
    """

    def __init__(self, config: S3Config, spool: Path, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._scratch = Scratch(spool)
        self._threads = Threads("object store", limits.S3_THREADS)
        self._client = S3Client(config)
        self._uploads = Uploads(self._client, config, self._clock)
        self._versions = BucketVersions(self._client, config)
        self._large = asyncio.Semaphore(limits.S3_LARGE_PUTS_AT_ONCE)
        self._store = _connect(config)

    # --- life ---

    async def open(self) -> None:
        """Check that the bucket can be read, and make it when it is missing.

        Raises:
            SettingError: The store refuses the access key.
            Unavailable: It does not answer.
        """
        self._threads.open()
        await self._threads.run(self._scratch.open)
        tried = f"open the bucket {self._config.shown}"
        if not await self._call("list", tried, lambda: self._has_bucket(tried)):
            await self._client.create_bucket()

    def _has_bucket(self, tried: str) -> bool:
        try:
            self._list(self._config.path(keys.PARTIAL), None)
        except (BaseError, FileNotFoundError) as error:
            fault = s3_faults.from_obstore(tried, error)
            if s3_faults.NO_BUCKET in fault.why:
                return False
            if fault.why.startswith(s3_faults.REFUSED):
                raise SettingError(tried, fault.why, fault.todo) from error
            raise
        return True

    async def close(self) -> None:
        """Let go of connections and local copies; safe to repeat."""
        await self._client.close()
        await self._threads.close()
        await asyncio.to_thread(self._scratch.close)

    # --- writing ---

    async def put(
        self,
        key: str,
        source: sources.Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object; see the port.

        With `only_if_absent`, `Unavailable` may mean that it was stored and only the answer was lost.
        """
        keys.check(key)
        checked = labels.check(metadata)
        headers = {name: labels.to_header(value) for name, value in checked.items()}
        path = self._config.path(key)
        # Bytes at hand are in memory already: cut into parts they take more of it, and more requests.
        at_once = limits.S3_WHOLE_BYTES if isinstance(source, bytes) else limits.OBJECT_BATCH_BYTES
        data = await sources.gather(source, at_once)
        if isinstance(data, bytes):
            size_bytes = await self._put_whole(path, data, only_if_absent, headers)
        else:
            async with self._large, aclosing(data):
                size_bytes = await self._put_large(path, data, only_if_absent, headers)
        return Stat(key, size_bytes, self._clock.now(), checked)

    async def _put_large(
        self, path: str, stream: sources.Source, only_if_absent: bool, headers: Mapping[str, str]
    ) -> int:
        data = await sources.gather(stream, limits.S3_PART_BYTES)
        if isinstance(data, bytes):
            return await self._put_whole(path, data, only_if_absent, headers)
        async with aclosing(data):
            return await self._uploads.put(path, data, only_if_absent=only_if_absent, metadata=headers)

    async def _put_whole(
        self, path: str, data: bytes, only_if_absent: bool, headers: Mapping[str, str]
    ) -> int:
        attributes: Any = {"Content-Type": CONTENT_TYPE, **headers}
        await self._call(
            "put",
            f"store {path}",
            lambda: self._store.put(
                path,
                data,
                attributes=attributes,
                mode="create" if only_if_absent else "overwrite",
                use_multipart=False,
            ),
            # Repeated, a conditional put could not tell its own success from another's.
            attempts=1 if only_if_absent else limits.CALL_ATTEMPTS,
        )
        return len(data)

    def draft(self) -> AbstractAsyncContextManager[SpooledDraft]:
        """Start an object whose key is not known yet, on local disk."""
        return spooled_draft(self, self._scratch, self._threads)

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object; True when it was removed. The server's clock says how old it is."""
        found = await self.stat(key)
        if found is None or (older_than and found.modified >= older_than):
            return False
        path = self._config.path(key)
        await self._call("delete", f"delete {key}", lambda: self._store.delete(path))
        return True

    async def erase(self, key: str) -> None:
        """Remove an object with every version the bucket keeps of it; see `pipeline.objects.versions`."""
        if await self._versions.kept():
            await self._versions.erase(keys.check(key))
        else:
            await self.delete(key)

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy an object with its metadata inside the store."""
        keys.check(target_key)
        found = await self.stat(source_key)
        if found is None:
            raise NotFound(f"copy {source_key}")
        source, target = self._config.path(source_key), self._config.path(target_key)
        if source == target:
            return
        if found.size_bytes > limits.S3_COPY_MAX_BYTES:
            headers = {name: labels.to_header(value) for name, value in found.metadata.items()}
            await self._uploads.copy(source, target, found.size_bytes, headers)
        else:
            await self._call("copy", f"copy {source_key}", lambda: self._store.copy(source, target))

    # --- reading ---

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Open an object or a range of it."""
        path = self._config.path(keys.check(key))
        ranges.check(key, first, last)
        options: Any = {}
        if last is not None:
            options["range"] = (first, last + 1)
        elif first > 0:
            options["range"] = {"offset": first}
        try:
            result = await self._call("get", f"read {key}", lambda: self._get(path, options))
        except BadInput:
            return await self._beyond_end(key, first, last)
        return S3Download(_stat(key, result), result, lambda again: self._get(path, again), self._call)

    async def _beyond_end(self, key: str, first: int, last: int | None) -> Download:
        """Answer a range the store would not: an empty object has one, at 0."""
        found = await self.stat(key)
        if found is None:
            raise NotFound(f"read {key}")
        cut = ranges.cut(key, first, last, found.size_bytes)
        if cut.length_bytes:
            raise Unavailable(f"read {key}", "it changed while it was opened", "try again")
        return MemoryDownload(found, cut, b"")

    @asynccontextmanager
    async def file(self, key: str, *, content: bytes | None = None) -> AsyncIterator[Path]:
        """Give a local copy, removed on leaving."""
        source = await self.get(key) if content is None else (content,)
        async with spooled(source, self._scratch, self._threads) as path:
            yield path

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when there is no object."""
        path = self._config.path(keys.check(key))
        try:
            result = await self._call("stat", f"look up {key}", lambda: self._get(path, {"head": True}))
        except NotFound:
            return None
        return _stat(key, result)

    async def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix, without its metadata."""
        keys.check_prefix(prefix)
        folder = self._config.path(prefix).rpartition("/")[0]
        after: str | None = None
        while batch := await self._call("list", f"list {prefix}", partial(self._list, folder, after)):
            for found in batch:
                key = self._config.key(found["path"])
                if key.startswith(prefix):
                    yield Stat(key, found["size"], found["last_modified"])
            after = batch[-1]["path"]

    async def versions(self, prefix: str = "") -> AsyncIterator[Versions]:
        """Yield every key with the number of its versions; see `pipeline.objects.versions`."""
        if not await self._versions.kept():
            async for stat in self.list(prefix):
                yield Versions(stat.key, stat, 1)
            return
        async for found in self._versions.list(keys.check_prefix(prefix)):
            yield found

    # --- calls ---

    def _get(self, path: str, options: GetOptions) -> GetResult:
        return self._store.get(path, options=options)

    def _list(self, folder: str, after: str | None) -> Sequence[ObjectMeta]:
        """Return the next objects in a folder, in the order of their paths."""
        stream = self._store.list(folder or None, offset=after, chunk_size=limits.OBJECT_LIST_BATCH)
        return next(stream, ())

    async def _call(
        self, name: str, tried: str, work: Callable[[], T], *, attempts: int = limits.CALL_ATTEMPTS
    ) -> T:
        """Make one blocking call in a thread, with time limit, bounded tries and metric.

        One that takes too long is left to end by itself: the client gives up on a silent server.
        """

        async def attempt() -> T:
            try:
                return await self._threads.start(work)
            except (BaseError, OSError, ValueError) as error:
                raise s3_faults.from_obstore(tried, error) from error

        timeout_seconds = limits.OBJECT_CALL_TIMEOUT_SECONDS
        return await outside.call(PART, name, attempt, timeout_seconds=timeout_seconds, attempts=attempts)


def _connect(config: S3Config) -> obstore.store.S3Store:
    options: Any = {}
    if config.endpoint:
        options["endpoint"] = config.endpoint
    if config.access_key and config.secret_key:
        options |= {"access_key_id": config.access_key, "secret_access_key": config.secret_key}
    return obstore.store.S3Store(
        config.bucket,
        region=config.region,
        disable_bulk_delete=True,
        client_options={
            "allow_http": config.allow_http,
            "connect_timeout": dt.timedelta(seconds=limits.S3_CONNECT_TIMEOUT_SECONDS),
            "read_timeout": dt.timedelta(seconds=limits.OBJECT_CALL_TIMEOUT_SECONDS),
            "timeout": _WHOLE_BODY,
        },
        retry_config={"max_retries": 0},  # repeated by pipeline.outside
        **options,
    )


def _stat(key: str, result: GetResult) -> Stat:
    metadata = {
        name: labels.from_header(value)
        for name, value in result.attributes.items()
        if name.lower() not in _HEADERS
    }
    return Stat(key, result.meta["size"], result.meta["last_modified"], metadata)
