"""`housekeeping run` with mocks: eight messages, four of them twice (archive contract, 15.1 and 18.5)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.housekeeping import mock_source
from tests.conftest import S3Server
from tests.housekeeping import real
from tests.housekeeping.command import Commands

FOUR_OF_EIGHT = {
    "received": 8,
    "stored": 4,
    "duplicates": 4,
    "parked": 0,
    "passed_over": 0,
    "verified": 0,
}


def test_all_mocks_receive_eight_store_four_and_end_with_status_0(commands: Commands) -> None:
    done = commands.process("housekeeping", "run")
    assert done.out == "", "results go to standard output, and there are none"
    assert done.err.count(":INFO:received ") == 8
    assert done.err.count("Duplicate not stored") == 4
    assert [line for line in done.err.splitlines() if "stored 4 objects." in line]
    assert sorted(path.name for path in commands.folder.iterdir()) == [], "mocks leave nothing behind"


def test_what_was_done_is_printed_when_asked_for(commands: Commands) -> None:
    assert commands("housekeeping", "run", "--once-stats").json == FOUR_OF_EIGHT
    verified = commands("housekeeping", "run", "--once-stats", "-v").json
    assert verified == FOUR_OF_EIGHT | {"verified": 4}


def test_a_pair_is_equal_and_stood_in_no_log() -> None:
    now_ms = 1_700_000_000_123
    found = list(mock_source.messages(now_ms))
    assert Counter(Counter(found).values()) == {2: 4}
    assert {message.timestamp_ms for message in found} == {now_ms, now_ms - 864_000_000}
    assert {(message.partition, message.offset, message.topic) for message in found} == {
        (None, None, "mock.topic")
    }
    with_uuid = [message for message in found if message.headers]
    assert len(with_uuid) == 4
    assert all(len(value or b"") == 16 for message in with_uuid for _, value in message.headers or ())


def test_a_run_ends_after_as_many_messages_as_were_wished_for(commands: Commands) -> None:
    counts = commands("housekeeping", "run", "--once-stats", "--max-messages", "3").json
    assert counts == FOUR_OF_EIGHT | {"received": 3, "stored": 2, "duplicates": 1}
    commands.stanzas(hop={"hop-type": "mock", "hop-test-max-messages": 1})
    counts = commands("housekeeping", "run", "--once-stats", "-H", "hop").json
    assert counts["received"] == 1


def test_files_stand_in_for_servers_and_keep_what_was_archived(commands: Commands, tmp_path: Path) -> None:
    commands.stanzas(
        db={"db-type": "sqlite", "db-path": str(tmp_path / "rows.sqlite")},
        store={"store-type": "local", "store-path": str(tmp_path / "kept")},
    )
    chosen = ("-D", "db", "-S", "store")
    counts = commands("housekeeping", "run", *chosen, "-v", "--once-stats").json
    assert counts == FOUR_OF_EIGHT | {"verified": 4}
    assert len(list((tmp_path / "kept/mock.topic").rglob("*.bson"))) == 4
    told = commands("houseutils", "verify", *chosen, "-a").out
    assert told.splitlines()[-1] == "0 anomalous of 4"


@pytest.mark.postgres
@pytest.mark.s3
async def test_the_mock_fills_a_real_database_and_a_real_store(
    commands: Commands, postgres_dsn: str, s3_server: S3Server, unique: str
) -> None:
    commands.stanzas(
        mock_hop={"hop-type": "mock"},
        local_db=real.DATABASE,
        local_store=real.store(s3_server, unique),
    )
    async with real.database(postgres_dsn) as database, real.buckets(s3_server, unique):
        commands.environment |= {**database, **real.store_environment(s3_server)}
        chosen = ("-D", "local-db", "-S", "local-store")
        ran = commands.process("housekeeping", "run", "-H", "mock-hop", *chosen, "-v", "--once-stats")
        assert ran.json == FOUR_OF_EIGHT | {"verified": 4}
        told = commands.process("houseutils", "verify", *chosen, "-a").out
        assert told.splitlines()[-1] == "0 anomalous of 4"
        keys = await real.keys(s3_server, unique)
        assert len(keys) == 4
        assert all(re.fullmatch(r"mock\.topic/\d{4}/\d+/\d+/\d+/[0-9a-f-]{36}\.bson", key) for key in keys)
        assert f"{unique}-backup" in await real.buckets_of(s3_server), "both buckets are made"
        assert await real.keys(s3_server, f"{unique}-backup") == [], "the backup is for replication to fill"


@pytest.mark.s3
async def test_copies_are_in_both_buckets_before_the_run_ends(
    commands: Commands, s3_server: S3Server, unique: str
) -> None:
    commands.stanzas(store=real.store(s3_server, unique, store_backup_mode="copy"))
    async with real.buckets(s3_server, unique):
        commands.environment |= real.store_environment(s3_server)
        commands.process("housekeeping", "run", "-S", "store")
        keys = await real.keys(s3_server, unique)
        assert len(keys) == 4
        assert sorted(await real.keys(s3_server, f"{unique}-backup")) == sorted(keys)


@pytest.mark.postgres
async def test_a_real_database_goes_with_a_mock_store(commands: Commands, postgres_dsn: str) -> None:
    async with real.database(postgres_dsn) as database:
        commands.environment |= database
        counts = commands.process("housekeeping", "run", "-D", "local-db", "--once-stats").json
        assert counts == FOUR_OF_EIGHT
        told = commands.process("houseutils", "status", "-D", "local-db", "--json").json
        assert "mock.topic" in str(told)


def test_a_source_for_publishing_and_an_archive_for_reading_are_refused(commands: Commands) -> None:
    commands.stanzas(hop={"hop-type": "kcat"})
    assert "for publishing only" in commands("housekeeping", "run", "-H", "hop", status=1).err
    told = commands("housekeeping", "run", "--read-only", "yes", status=1).err
    assert "read-only is set" in told
    assert commands("housekeeping", "run", "--read-only", "false", "--once-stats").json == FOUR_OF_EIGHT


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-D", "no-such"], "has no such stanza; known stanzas: S3-dev, S3-prod, aws-dev-db"),
        (["-f", "missing.toml"], "read missing.toml: No such file or directory"),
        (["--store-type", "S3"], "setting store-primary-bucket: it is needed here"),
        (["--db-type", "sql"], "setting db-name: it is needed here"),
        (["--db-type", "mock", "--db-table", "mine"], "the table is always messages"),
        (["--log-format", "%(nothing"], "neither console nor json nor a format"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_1(
    commands: Commands, arguments: list[str], told: str
) -> None:
    err = commands("housekeeping", "run", *arguments, status=1).err
    assert err.startswith("housekeeping: ")
    assert told in err
    assert "Traceback" not in err
