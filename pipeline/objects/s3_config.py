"""Where an S3 bucket is and how to enter it."""

from __future__ import annotations

import msgspec


class S3Config(msgspec.Struct, frozen=True):
    """A bucket of AWS or of a compatible server. Without keys the usual AWS chain finds credentials."""

    bucket: str
    region: str = "us-east-1"
    endpoint: str | None = None
    """``http(s)://host:port`` of a compatible server; None for AWS."""
    access_key: str | None = None
    secret_key: str | None = None
    allow_http: bool = False
    prefix: str = ""
    """Put before every key, with a slash between; lets several installations share a bucket."""

    def path(self, key: str) -> str:
        """Return the place of a key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def key(self, path: str) -> str:
        """Return the key of a place in the bucket."""
        return path.removeprefix(f"{self.prefix}/") if self.prefix else path

    @property
    def shown(self) -> str:
        """The bucket as an address for messages, without secrets."""
        return f"{self.endpoint or 's3://'}/{self.bucket}" if self.endpoint else f"s3://{self.bucket}"

    def __repr__(self) -> str:
        return f"S3Config({self.shown!r}, prefix={self.prefix!r})"
