"""From the setting `objects` to an object store: the URL chooses the implementation."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pipeline.clock import Clock
from pipeline.errors import BadInput, SettingError
from pipeline.objects import keys
from pipeline.objects.port import ObjectStore
from pipeline.objects.s3_config import S3Config

ALLOWED = (
    "folder:, folder:///folder, memory:, s3://bucket[?region=name][&prefix=path] or "
    "s3+http[s]://KEY:SECRET@host:port/bucket[?region=name][&prefix=path]"
)
_SCHEMES = {"s3", "s3+http", "s3+https"}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def make_store(url: str, *, data_folder: Path, clock: Clock | None = None) -> ObjectStore:
    """Make the store a URL names; nothing is opened yet.

    Args:
        url: The setting. `folder:` alone is the folder `objects` in the data folder.
        data_folder: Where an installation keeps its files; local copies go to `spool_folder`.
        clock: For times the store itself does not give.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    spool = spool_folder(data_folder)
    if url.startswith("folder:"):
        from pipeline.objects.folder import FolderStore

        return FolderStore(_folder(url, data_folder))
    if url == "memory:":
        from pipeline.objects.memory import MemoryStore

        return MemoryStore(spool, clock)
    config = s3_config(url)
    from pipeline.objects.s3 import S3Store

    return S3Store(config, spool, clock)


def spool_folder(data_folder: Path) -> Path:
    """Return where local copies of objects lie while they are needed."""
    return data_folder / "spool"


def _folder(url: str, data_folder: Path) -> Path:
    named = url.removeprefix("folder:")
    if named in {"", "//"}:
        return data_folder / "objects"
    if not named.startswith("///") or named == "///":
        raise _refused(url, "the folder needs its whole path")
    return Path(unquote(named.removeprefix("//")))


def bucket_named(url: str) -> str:
    """Return the bucket a URL names, empty for stores that have none."""
    return s3_config(url).bucket if url.startswith("s3") else ""


def s3_config(url: str) -> S3Config:
    """Return what an S3 URL names: ``s3://`` is AWS, ``s3+http(s)://`` a compatible server.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        why = "it is no address; special characters in a key or secret are percent-encoded"
        raise _refused(url, why) from error
    if parts.scheme not in _SCHEMES:
        raise _refused(url, "it names no kind of object store")
    bucket, endpoint = _place(url, parts, port)
    region, prefix = _options(url, parts.query)
    return S3Config(
        bucket=bucket,
        region=region,
        endpoint=endpoint,
        access_key=unquote(parts.username) if parts.username else None,
        secret_key=unquote(parts.password) if parts.password else None,
        allow_http=parts.scheme == "s3+http",
        prefix=prefix,
    )


def _place(url: str, parts: SplitResult, port: int | None) -> tuple[str, str | None]:
    path = unquote(parts.path).strip("/")
    if parts.scheme == "s3":
        bucket, endpoint = parts.hostname or "", None
        if path or port:
            raise _refused(url, "s3:// names a bucket only; a path goes into the option prefix")
    else:
        host = parts.hostname or ""
        if not host:
            raise _refused(url, "the host is missing")
        host = f"[{host}]" if ":" in host else host
        bucket, endpoint = path, f"{parts.scheme.removeprefix('s3+')}://{host}{f':{port}' if port else ''}"
    if not _BUCKET.fullmatch(bucket):
        raise _refused(url, "a bucket is named by 3 to 63 lower-case letters, digits, dots and dashes")
    if bool(parts.username) != bool(parts.password):
        raise _refused(url, "an access key goes with its secret, KEY:SECRET@")
    return bucket, endpoint


def _options(url: str, query: str) -> tuple[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    region, prefix = options.pop("region", "us-east-1"), options.pop("prefix", "").strip("/")
    if options:
        raise _refused(url, f"unknown option {next(iter(options))}")
    if not region:
        raise _refused(url, "the region is empty")
    try:
        return region, keys.check(prefix) if prefix else ""
    except BadInput as error:
        raise _refused(url, f"prefix: {error.why}") from error


def _refused(url: str, why: str) -> SettingError:
    shown = re.sub(r"//.*@", "//***@", url)  # the key and secret are nobody's business
    return SettingError(f"setting objects = {shown!r}", why, f"allowed: {ALLOWED}")
