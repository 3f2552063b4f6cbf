"""Which object store a configuration names (archive contract, sections 8 and 14.2)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode

from pipeline.errors import SettingError
from pipeline.housekeeping.config import Config


def url(config: Config) -> str:
    """Return the setting `objects`.

    Raises:
        SettingError: No bucket is named, or the endpoint is no URL.
    """
    match config.text("store-type"):
        case "mock":
            return "memory:"
        case "local":
            path = config.text("store-path")
            return f"folder://{quote(str(Path(path).expanduser().absolute()))}" if path else "folder:"
    return _bucket_url(config, config.wanted("store-primary-bucket"))


def backup_url(config: Config) -> str:
    """Return the URL of the backup bucket, empty when there is none.

    Raises:
        SettingError: The endpoint is no URL.
    """
    bucket = config.text("store-backup-bucket")
    if config.text("store-type") != "S3" or not bucket or config.text("store-backup-mode") == "none":
        return ""
    return _bucket_url(config, bucket)


def _bucket_url(config: Config, bucket: str) -> str:
    region = urlencode({"region": config.region("store-region-name")})
    endpoint = config.text("store-endpoint-url")
    if not endpoint:
        return f"s3://{bucket}?{region}"
    scheme, separator, place = endpoint.rstrip("/").partition("://")
    if not separator or scheme not in {"http", "https"}:
        raise SettingError(f"store-endpoint-url = {endpoint!r}", "allowed: http://… or https://…")
    names = ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
    key, secret = (quote(config.environment.get(name, ""), safe="") for name in names)
    login = f"{key}:{secret}@" if key and secret else ""
    return f"s3+{scheme}://{login}{place}/{bucket}?{region}"
