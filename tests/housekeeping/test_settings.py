"""What a choice of stanzas becomes in the settings of Headrace."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.housekeeping.config import Choice, Config, load
from pipeline.housekeeping.settings import settings_of
from pipeline.settings import Settings


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path / "data"))


def config(environment: dict[str, str] | None = None, **choice: str) -> Config:
    return load(Choice()._replace(**choice), environment or {})  # type: ignore[arg-type]


async def settings(environment: dict[str, str] | None = None, **choice: str) -> Settings:
    return await settings_of(config(environment, **choice), scratch=Path("/scratch"))


async def test_mocks_live_in_memory_and_in_the_folder_that_goes() -> None:
    found = await settings()
    assert found.objects == "memory:"
    assert found.database == "sqlite:///scratch/mock.sqlite"
    assert (found.data, found.log) == ("/scratch", "embedded:")
    assert (found.archive.prefix, found.archive.source, found.archive.topics_file) == ("", "", "")


async def test_a_store_of_aws_takes_its_credentials_from_aws_and_one_with_an_endpoint_from_s3() -> None:
    keys = {"S3_ACCESS_KEY_ID": "a/b", "S3_SECRET_ACCESS_KEY": "c@d"}
    found = await settings(keys, store="S3-dev")
    assert found.objects == "s3://housedevel-scimma-housekeeping?region=us-west-2"
    found = await settings(keys, store="local-store")
    assert found.objects == "s3+http://a%2Fb:c%40d@object-store:9000/messages?region=us-east-1"
    assert found.archive.backup == "", "replication is for the bucket"
    copying = await settings({**keys, "SCIMMA_ARCH_STORE_BACKUP_MODE": "copy"}, store="local-store")
    assert "/messages-backup?" in copying.archive.backup


async def test_a_protected_or_read_only_archive_deletes_nothing() -> None:
    assert (await settings(store="S3-prod")).archive.protected
    assert (await settings({"READ_ONLY": "yes"})).archive.protected
    assert not (await settings(store="S3-dev")).archive.protected


async def test_the_test_topic_is_vetoed_unless_it_alone_is_read() -> None:
    found = await settings(source="hop-local")
    assert found.archive.topics == ("*",)
    assert set(found.archive.veto) == {
        "sys.heartbeat",
        "sys.heartbeat-cit",
        "__consumer_offsets",
        "demo.archive-test",
        "__*",
    }
    chosen = config(source="hop-local")
    found = await settings_of(chosen, scratch=Path("/scratch"), test_run=True)
    assert (found.archive.topics, found.archive.veto) == (("demo.archive-test",), ())
    with pytest.raises(SettingError, match="hop-test-topic"):
        await settings_of(config(), scratch=Path("/scratch"), test_run=True)


async def test_a_real_source_parks_in_the_data_folder_of_headrace(tmp_path: Path) -> None:
    found = await settings(source="hop-local")
    assert found.archive.source == "kafka://kafka:9092"
    assert found.archive.group == "archive"
    assert found.data == str(tmp_path / "data/housekeeping")
    assert found.archive.refresh_seconds == 300


async def test_what_nobody_gave_stays_as_headrace_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_ARCHIVE__CONCURRENCY", "7")
    assert (await settings()).archive.concurrency == 7
    given = {"SCIMMA_ARCH_ARCHIVE_CONCURRENCY": "9", "SCIMMA_ARCH_DEDUPE": "upstream", "LIVENESS_FILE": "x"}
    found = (await settings(given)).archive
    assert (found.concurrency, found.dedupe, found.liveness_file) == (9, "upstream", "x")
    assert found.test_messages is False
    assert (await settings({"SCIMMA_ARCH_ARCHIVE_TEST_MESSAGES": "1"})).archive.test_messages


async def test_a_database_of_postgresql_is_an_address_with_its_password_spelled_out() -> None:
    given = {"DB_HOST": "::1", "DB_NAME": "a b", "DB_USERNAME": "me@x", "DB_PASSWORD": "p/w"}
    assert (await settings(given)).database == "postgresql://me%40x:p%2Fw@[::1]:5432/a%20b"
    local = {"POSTGRESQL_HOST": "h", "POSTGRESQL_DATABASE": "d", "POSTGRESQL_PORT": "5433"}
    assert (await settings(local, database="local-db")).database == "postgresql://h:5433/d"
    with pytest.raises(SettingError, match="a number is wanted"):
        await settings({**local, "POSTGRESQL_PORT": "x"}, database="local-db")
