"""Life-cycle rules of a bucket that let the streams of a source go after some days.

Contract: dispatcher section 18: one rule a source, ``BackupExpiryFor-<source>`` for what lies below
``<source>/``. Everybody's rules are in one document, which is read, changed and written as a whole; it is
written only when something in it has to change, and rules of others stay in it as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import SettingError
from pipeline.objects.s3_client import S3Client
from pipeline.objects.s3_config import S3Config

_Rule = Mapping[str, Any]
_NONE = "NoSuchLifecycleConfiguration"
_UNKNOWN = {"NotImplemented", "MethodNotAllowed"}
_MINIMUM = "TransitionDefaultMinimumObjectSize"
"""A value beside the rules, written back with them."""


class BucketRules:
    """The rules of ours in a bucket.

    Args:
        config: The bucket. A prefix of it belongs to the ids too: another installation may share it.
    """

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._client = S3Client(config)

    async def close(self) -> None:
        """Let go of connections; safe to repeat."""
        await self._client.close()

    async def expire(self, days: Mapping[str, int | None]) -> list[str]:
        """Let streams go so many days after they were stored; None: never, a rule that says otherwise goes.

        Returns the ids of the rules written or removed; sources that are not named are left alone.

        Raises:
            SettingError: The server knows no such rules.
            Unavailable: It does not answer, or does not allow it.
        """
        wanted = {self._id(source): self._rule(source, after) for source, after in days.items() if after}
        unwanted = {self._id(source) for source, after in days.items() if not after}
        document = await self._read()
        there = {rule.get("ID", ""): rule for rule in document["Rules"]}
        changed = [name for name, rule in wanted.items() if not _same(there.get(name), rule)]
        removed = sorted(unwanted & there.keys())
        if changed or removed:
            gone = {*changed, *removed}
            kept = [rule for rule in document["Rules"] if rule.get("ID", "") not in gone]
            await self._write(document, kept + [wanted[name] for name in changed])
        return changed + removed

    async def remove(self, sources: Iterable[str]) -> list[str]:
        """Remove the rules of these sources; returns their ids. Raises as `expire` does."""
        return await self.expire(dict.fromkeys(sources))

    def _id(self, source: str) -> str:
        return f"BackupExpiryFor-{self._config.path(source)}"

    def _rule(self, source: str, after_days: int) -> _Rule:
        return {
            "ID": self._id(source),
            "Filter": {"Prefix": self._config.path(f"{source}/")},
            "Status": "Enabled",
            "Expiration": {"Days": after_days},
            # In a bucket with versions, expiry alone only hides an object.
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        }

    async def _read(self) -> dict[str, Any]:
        tried = f"read the life-cycle rules of {self._config.shown}"

        async def read(client: Any) -> dict[str, Any]:
            try:
                return dict(await client.get_bucket_lifecycle_configuration(Bucket=self._config.bucket))
            except client.exceptions.ClientError as error:
                if _code(error) == _NONE:
                    return {"Rules": []}
                _check_known(tried, error)
                raise

        return await self._client.call("read rules", tried, read)

    async def _write(self, document: Mapping[str, Any], rules: Sequence[_Rule]) -> None:
        tried = f"write the life-cycle rules of {self._config.shown}"
        options = {_MINIMUM: document[_MINIMUM]} if _MINIMUM in document else {}

        async def write(client: Any) -> None:
            bucket = self._config.bucket
            try:
                if rules:
                    await client.put_bucket_lifecycle_configuration(
                        Bucket=bucket, LifecycleConfiguration={"Rules": rules}, **options
                    )
                else:
                    await client.delete_bucket_lifecycle(Bucket=bucket)
            except client.exceptions.ClientError as error:
                _check_known(tried, error)
                raise

        await self._client.call("write rules", tried, write)


def _same(there: _Rule | None, wanted: _Rule) -> bool:
    """Tell whether a rule does what is wanted, however it is written."""
    if there is None:
        return False
    prefix = there.get("Filter", {}).get("Prefix", there.get("Prefix"))
    return (prefix, there.get("Status"), there.get("Expiration", {}).get("Days")) == (
        wanted["Filter"]["Prefix"],
        wanted["Status"],
        wanted["Expiration"]["Days"],
    )


def _check_known(tried: str, error: Any) -> None:
    if _code(error) in _UNKNOWN:
        raise SettingError(
            tried, "this server keeps no such rules", "set streams.age_off to off"
        ) from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
