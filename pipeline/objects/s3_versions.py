"""Versions of objects in a bucket of S3, through its calls for them (ListObjectVersions, DeleteObject)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pipeline import limits
from pipeline.errors import BadInput, NotFound, Unavailable
from pipeline.objects.port import Stat
from pipeline.objects.s3_client import S3Client
from pipeline.objects.s3_config import S3Config
from pipeline.objects.versions import Versions

_ON = {"Enabled", "Suspended"}
"""A bucket whose versioning was suspended still holds the versions made before."""


class BucketVersions:
    """The versions in one bucket, below the prefix of its store.

    Args:
        client: Calls the server.
        config: The bucket.
    """

    def __init__(self, client: S3Client, config: S3Config) -> None:
        self._client = client
        self._config = config
        self._kept: bool | None = None

    async def kept(self) -> bool:
        """Say whether the bucket keeps versions, which is asked once; a server that knows none says no."""
        if self._kept is None:
            self._kept = await self._ask_kept()
        return self._kept

    async def _ask_kept(self) -> bool:
        async def ask(client: Any) -> Any:
            return await client.get_bucket_versioning(Bucket=self._config.bucket)

        tried = f"ask whether the bucket {self._config.shown} keeps versions"
        try:
            answer = await self._client.call("get versioning", tried, ask)
        except (BadInput, NotFound):
            return False
        except Unavailable as error:
            if error.why.startswith("501"):  # how servers refuse a call they do not have
                return False
            raise
        return answer.get("Status") in _ON

    async def list(self, prefix: str) -> AsyncIterator[Versions]:
        """Yield every key that starts with the prefix, in order; memory stays flat."""
        held: Versions | None = None
        async for key, stat in self._entries(prefix):
            if held is None or held.key != key:
                if held is not None:
                    yield held
                held = Versions(key, stat, 0)
            held = Versions(key, held.stat or stat, held.number + 1)
        if held is not None:
            yield held

    async def _entries(self, prefix: str) -> AsyncIterator[tuple[str, Stat | None]]:
        """Yield key and, for the present one, description of each version and each mark of a deletion."""
        async for page in self._pages(self._config.path(prefix)):
            versions = [(each, True) for each in page.get("Versions", ())]
            deletions = [(each, False) for each in page.get("DeleteMarkers", ())]
            for entry, holds in sorted(versions + deletions, key=lambda pair: pair[0]["Key"]):
                key = self._config.key(entry["Key"])
                present = holds and entry["IsLatest"]
                yield key, Stat(key, entry["Size"], entry["LastModified"]) if present else None

    async def _pages(self, path: str) -> AsyncIterator[Any]:
        """Yield the pages of a listing."""
        position: dict[str, str] = {}
        while True:
            page = await self._page(path, position)
            yield page
            if not page.get("IsTruncated"):
                return
            position = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }

    async def _page(self, path: str, position: dict[str, str]) -> Any:
        async def ask(client: Any) -> Any:
            return await client.list_object_versions(
                Bucket=self._config.bucket, Prefix=path, MaxKeys=limits.OBJECT_LIST_BATCH, **position
            )

        return await self._client.call("list versions", f"list the versions of {path}", ask)

    async def erase(self, key: str) -> None:
        """Remove every version of an object and every mark of a deletion."""
        path = self._config.path(key)
        async for page in self._pages(path):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if entry["Key"] == path:
                    await self._delete(path, entry["VersionId"])

    async def _delete(self, path: str, version: str) -> None:
        async def ask(client: Any) -> None:
            await client.delete_object(Bucket=self._config.bucket, Key=path, VersionId=version)

        await self._client.call("delete version", f"delete a version of {path}", ask)
