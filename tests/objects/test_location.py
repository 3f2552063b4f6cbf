"""From the setting `objects` to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.objects.folder import FolderStore
from pipeline.objects.location import make_store, s3_config
from pipeline.objects.memory import MemoryStore
from pipeline.objects.s3 import S3Store
from pipeline.objects.s3_config import S3Config

SECRET = "dont/show+me"


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("folder:", FolderStore, "data/objects"),
        ("folder:///mnt/big%20disk", FolderStore, "/mnt/big disk"),
        ("memory:", MemoryStore, ""),
        ("s3://bucket", S3Store, ""),
        ("s3+http://KEY:SECRET@localhost:9000/bucket", S3Store, ""),
    ],
)
async def test_the_url_chooses_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, kind: type, shown: str
) -> None:
    store = make_store(url, data_folder=tmp_path / "data")
    assert isinstance(store, kind)
    if shown.startswith("data"):
        await store.open()
        assert (tmp_path / shown).is_dir()
        await store.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", S3Config("bucket")),
        ("s3://bucket?region=eu-central-1&prefix=a/b/", S3Config("bucket", "eu-central-1", prefix="a/b")),
        (
            "s3+http://KEY:dont%2Fshow%2Bme@host:9000/bucket?region=here",
            S3Config("bucket", "here", "http://host:9000", "KEY", SECRET, allow_http=True),
        ),
        (
            "s3+https://KEY:x@[::1]:9000/bucket?prefix=p",
            S3Config("bucket", "us-east-1", "https://[::1]:9000", "KEY", "x", prefix="p"),
        ),
        ("s3+https://host/bucket", S3Config("bucket", endpoint="https://host")),
    ],
)
def test_an_s3_url_names_bucket_place_and_keys(url: str, expected: S3Config) -> None:
    assert s3_config(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "objects",
        "folder:relative",
        "folder://host/path",
        "folder:///",
        "memory",
        "s3:",
        "s3://",
        "s3://Not_A_Bucket!",
        "s3://bucket/path",
        "s3://bucket?regin=x",
        "s3://bucket?region=",
        "s3://bucket?prefix=../x",
        "s3+http://host:9000",
        "s3+http://host:port/bucket",
        "s3+http://KEY@host/bucket",
        "s3+http:///bucket",
        "s3+ftp://host/bucket",
    ],
)
def test_a_wrong_setting_is_told_with_what_is_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingError, match=r"allowed: folder:, .*s3\+http"):
        make_store(url, data_folder=tmp_path)


@pytest.mark.parametrize(
    "url",
    [f"s3+http://KEY:{SECRET}@host/bucket", "s3+http://KEY:dont%2Fshow@host:x/bucket", "s3+x://K:dont@h/b"],
)
def test_a_secret_never_appears_in_a_message(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingError) as refused:
        make_store(url, data_folder=tmp_path)
    assert "dont" not in str(refused.value)
    assert "dont" not in repr(s3_config("s3+http://KEY:dont@host/bucket"))
