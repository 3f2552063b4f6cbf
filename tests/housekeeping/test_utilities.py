"""Every sub-command of `houseutils`, on files and mocks (archive contract, section 15.2)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.housekeeping import test_data
from tests.housekeeping.command import Commands, Name

CHOSEN = ("-D", "db", "-S", "store")
CASES = len(test_data.cases()) - 1


@pytest.fixture
def kept(commands: Commands) -> Commands:
    """Give the commands with stanzas for a database file, a folder and the embedded log."""
    folder = commands.folder
    commands.stanzas(
        db={"db-type": "sqlite", "db-path": str(folder / "rows.sqlite")},
        store={"store-type": "local", "store-path": str(folder / "kept")},
        guarded={"store-type": "local", "store-path": str(folder / "kept"), "protected": True},
        hop={"hop-type": "local", "hop-test-topic": "demo.test", "hop-groupname": "tests"},
        mock={"hop-type": "mock"},
    )
    return commands


@pytest.fixture
def filled(kept: Commands) -> Commands:
    """Give the commands over an archive with the four messages of the mock."""
    kept("housekeeping", "run", *CHOSEN)
    return kept


def uuids(commands: Commands, where: str = "order by id") -> list[str]:
    return commands("houseutils", "uuids", "-D", "db", where).out.split()


def tool(commands: Commands, name: str, script: str) -> None:
    """Put a program of that name before all others."""
    folder = commands.folder / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    commands.environment["PATH"] = f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("name", ["housekeeping", "houseutils"])
def test_without_a_sub_command_the_help_is_printed_with_status_1(commands: Commands, name: Name) -> None:
    bare = commands.process(name, status=1)
    asked = commands.process(name, "-h")
    assert bare.out == asked.out
    assert "--toml_file" in asked.out
    assert "--log_stanza" in asked.out
    assert commands.process(name, "no-such", status=2).out == ""


@pytest.mark.parametrize("name", ["housekeeping", "houseutils"])
def test_list_prints_the_file_and_what_stands_in_it(commands: Commands, name: Name) -> None:
    named = commands.stanzas("mine.toml", mine={"db-type": "mock"})
    printed = commands(name, "-t", named, "list").out.splitlines()
    assert printed == [str(named), "{'mine': {'db-type': 'mock'}}"]
    assert commands(name, "list").out.splitlines()[0].endswith("conf/housekeeping.toml")
    commands.stanzas(here={"db-type": "mock"})
    assert commands(name, "list").out.splitlines()[0] == "housekeeping.toml"
    assert "No such file" in commands(name, "--toml_file", "missing.toml", "list", status=1).err


def test_status_counts_what_was_archived_and_an_empty_archive_is_no_error(filled: Commands) -> None:
    row = next(
        line for line in filled("houseutils", "status", "-D", "db").out.splitlines() if "mock.topic" in line
    )
    assert "4" in row.split()
    assert filled("houseutils", "status", "-D", "db", "--json").json
    filled.stanzas("mocks.toml", mock_db={"db-type": "mock"})
    filled("houseutils", "-t", "mocks.toml", "status", "-D", "mock-db")


def test_verify_tells_rows_without_their_objects_from_good_ones(filled: Commands) -> None:
    assert filled("houseutils", "verify", *CHOSEN).out.splitlines()[-1] == "0 anomalous of 4"
    assert filled("houseutils", "verify", *CHOSEN, "--store").out
    next((filled.folder / "kept/mock.topic").rglob("*.bson")).unlink()
    told = filled("houseutils", "verify", *CHOSEN, "-a", status=1).out
    assert "** object does not exist ***" in told
    assert told.splitlines()[-1] == "1 anomalous of 4"
    assert filled("houseutils", "verify", *CHOSEN, "-a", "--json", status=1).out
    told = filled("houseutils", "verify_db_to_store", *CHOSEN, "-t", "mock.%", status=1).out
    assert "does not exist ***" in told
    filled("houseutils", "verify_db_to_store", *CHOSEN, "-t", "other.%", "-v")


def test_verify_store_to_db_tells_objects_without_a_row(filled: Commands) -> None:
    filled("houseutils", "verify_store_to_db", *CHOSEN)
    there = next((filled.folder / "kept/mock.topic").rglob("*.bson"))
    stray = there.with_name("01234567-89ab-4cde-8f01-23456789abcd.bson")
    stray.write_bytes(there.read_bytes())
    year, month = there.parts[-5], there.parts[-4]
    told = filled("houseutils", "verify_store_to_db", *CHOSEN, "-y", f"{year}/{month}", status=1).out
    assert stray.name in told
    filled("houseutils", "verify_store_to_db", *CHOSEN, "-y", "1970/1")


def test_inspect_prints_a_message_and_writes_its_object(filled: Commands) -> None:
    uuid = uuids(filled)[0]
    assert "mock.topic" in filled("houseutils", "inspect", *CHOSEN, uuid).out
    assert filled("houseutils", "inspect", *CHOSEN, "--json", uuid).json
    assert filled("houseutils", "inspect", *CHOSEN, "-w", "-q", uuid).out == ""
    written = (filled.folder / f"{uuid}.bson").read_bytes()
    assert written == next((filled.folder / "kept").rglob(f"{uuid}.bson")).read_bytes()
    unknown = "01234567-89ab-4cde-8f01-23456789abcd"
    filled("houseutils", "inspect", *CHOSEN, unknown, status=1)


def test_uuids_prints_those_a_clause_chooses_and_changes_nothing(filled: Commands) -> None:
    assert len(uuids(filled, "where topic = 'mock.topic'")) == 4
    assert len(uuids(filled, "limit 2")) == 2
    json.loads(filled("houseutils", "uuids", "-D", "db", "limit 1", "--json").out)
    filled("houseutils", "uuids", "-D", "db", "where 1=1; delete from messages", status=1)
    assert len(uuids(filled)) == 4


def test_an_archive_is_migrated_packed_indexed_and_listed_for_what_is_parked(filled: Commands) -> None:
    filled("houseutils", "migrate", "-D", "db")
    assert (
        filled("houseutils", "repack", *CHOSEN, "--to", "packs", "--dry-run", "--json").json["messages"]
        == 4
    )
    assert len(list((filled.folder / "kept").rglob("*.bson"))) == 4, "a dry run moves nothing"
    assert filled("houseutils", "repack", *CHOSEN, "--json").json["messages"] == 4
    assert filled("houseutils", "verify", *CHOSEN, "-a", "--crc").out.splitlines()[-1] == "0 anomalous of 4"
    filled("houseutils", "reindex", *CHOSEN, "-H", "mock", "--start-time", "0", "--reindex-partial")
    assert filled("houseutils", "parked", "-D", "db", "--json").out.strip() == "[]"


def test_clean_tests_asks_and_deletes_the_mock_topic_only_on_yes(filled: Commands) -> None:
    run = ("clean_tests", "-H", "mock", *CHOSEN)
    filled.process("houseutils", *run, status=1, answers="n\n")
    assert len(uuids(filled)) == 4
    filled.process("houseutils", *run, answers="y\n")
    assert uuids(filled) == []
    assert not list((filled.folder / "kept").rglob("*.bson"))


def test_a_protected_store_is_never_cleaned(filled: Commands) -> None:
    told = filled(
        "houseutils", "clean_tests", "-H", "mock", "-D", "db", "-S", "guarded", "-q", status=1
    ).err
    assert "protected" in told
    assert len(uuids(filled)) == 4


def test_clean_duplicates_finds_none_where_there_are_none(filled: Commands) -> None:
    filled("houseutils", "clean_duplicates", *CHOSEN, "-c")
    filled("houseutils", "clean_duplicates", *CHOSEN, "-q", "-l", "5")
    assert len(uuids(filled)) == 4


def test_published_cases_are_archived_from_the_embedded_log_and_verified(kept: Commands) -> None:
    sent = kept("houseutils", "publish", "-H", "hop").out.splitlines()
    assert len(sent) == CASES + 1
    counts = kept.process("housekeeping", "run", "-H", "hop", *CHOSEN, "-t", "-v", "--once-stats").json
    assert counts["stored"] == counts["verified"] == CASES
    assert (
        kept("houseutils", "verify", *CHOSEN, "-a", "--crc").out.splitlines()[-1]
        == f"0 anomalous of {CASES}"
    )


def test_clean_tests_reads_the_test_topic_dry_for_the_group_that_archives(kept: Commands) -> None:
    kept("houseutils", "publish", "-H", "hop")
    cleaned = kept("houseutils", "clean_tests", "-H", "hop", *CHOSEN, "-q").err
    assert f"acknowledged at the broker: {CASES + 1}" in cleaned
    counts = kept.process("housekeeping", "run", "-H", "hop", *CHOSEN, "-t", "--until-eos", "--once-stats")
    assert counts.json["received"] == 0


def test_who_is_asked_before_each_case_may_skip_it_or_stop_being_asked(kept: Commands) -> None:
    done = kept.process("houseutils", "publish", "-H", "hop", "-a", answers="s\n\nq\n")
    names = [line.split("\t")[2] for line in done.out.splitlines()]
    assert names == [case.name for case in test_data.cases()][1:]
    done = kept.process("houseutils", "publish", "-H", "hop", "-a", answers="S\n" * 99)
    assert done.out == ""


def test_publishing_to_a_mock_sends_nothing_and_says_what_it_would(kept: Commands) -> None:
    assert len(kept("houseutils", "publish", "-H", "mock").out.splitlines()) == CASES + 1


def test_publish_cleans_first_when_told_to(filled: Commands) -> None:
    run = ("publish", "-H", "mock", *CHOSEN, "-c")
    assert filled.process("houseutils", *run, status=1, answers="n\n").out.count("Big Blob") == 0
    assert "Big Blob" in filled.process("houseutils", *run, answers="y\n").out
    assert uuids(filled) == []


def test_publish_asks_nobody_when_nobody_is_there(kept: Commands) -> None:
    told = kept.process("houseutils", "publish", "-H", "hop", "-a", status=1)
    assert "nobody answers; leave out --ask" in told.err
    assert told.out == ""


def test_publish_without_a_test_topic_is_refused(commands: Commands) -> None:
    commands.stanzas(hop={"hop-type": "hop"})
    assert "setting hop-test-topic" in commands("houseutils", "publish", "-H", "hop", status=1).err


def test_connect_gives_psql_the_password_by_environment_and_prints_it_nowhere(commands: Commands) -> None:
    tool(
        commands,
        "psql",
        'echo "$# $PGHOST $PGPORT $PGUSER $PGDATABASE $(printf %s "$PGPASSWORD" | md5sum)"; exit 3',
    )
    server = {"HOST": "db.example", "USERNAME": "me", "PASSWORD": "hunter2", "DATABASE": "archive"}
    commands.environment |= {f"POSTGRESQL_{name}": value for name, value in server.items()}
    done = commands.process("houseutils", "connect", "-D", "local-db", status=3)
    assert done.out.split()[:5] == ["0", "db.example", "5432", "me", "archive"]
    assert done.out.split()[5] == "2ab96390c7dbe3439de74d0c9b0b1767"
    assert "hunter2" not in done.out + done.err


def test_connect_is_refused_for_a_mock_and_told_when_there_is_no_psql(commands: Commands) -> None:
    told = commands("houseutils", "connect", "-D", "mock-db", status=1).err
    assert "a mock has no server to connect to" in told
    commands.environment |= {"POSTGRESQL_DATABASE": "archive", "PATH": "/nonexistent"}
    told = commands.process("houseutils", "connect", "-D", "local-db", status=1).err
    assert "start psql: No such file or directory; install it" in told


def test_db_logs_lists_what_is_parked_where_there_is_no_log_to_read(filled: Commands) -> None:
    told = filled("houseutils", "db_logs", "-D", "db").err
    assert "these messages could not be stored" in told


def test_kube_logs_prints_the_log_of_the_pod_without_a_shell(commands: Commands) -> None:
    tool(
        commands,
        "kubectl",
        'case "$1" in get) echo "pod/housekeeping-prod-1 pod/housekeeping-devel-1 pod/other-prod";;'
        ' *) echo "$#" "$@";; esac',
    )
    printed = commands("houseutils", "kube_logs", "prod").out.splitlines()
    assert printed == ["==> pod/housekeeping-prod-1 <==", "2 logs pod/housekeeping-prod-1"]


def test_kube_logs_says_why_there_are_none(commands: Commands) -> None:
    commands("houseutils", "kube_logs", "staging", status=2)
    tool(commands, "kubectl", "echo pod/other")
    assert (
        "none of 1 pods is called housekeeping and devel"
        in commands("houseutils", "kube_logs", "devel", status=1).err
    )
    tool(commands, "kubectl", "echo no cluster >&2; exit 1")
    assert (
        "kubectl get pods --output=name: no cluster"
        in commands("houseutils", "kube_logs", "prod", status=1).err
    )
    commands.environment["PATH"] = "/nonexistent"
    assert "kubectl is not installed here" in commands("houseutils", "kube_logs", "prod", status=1).err


def test_the_log_goes_where_its_stanza_says_in_the_form_it_says(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "mine.log"
    commands.stanzas(
        log={"filename": str(file), "level": "INFO", "format": "%(levelname)s:%(message)s"},
        quiet={"level": "ERROR"},
        json={"format": "json", "level": "INFO"},
    )
    assert commands("housekeeping", "run").err == ""
    lines = file.read_text().splitlines()
    assert "INFO:stored 1 objects." in lines
    assert sum(line.startswith("INFO:Duplicate not stored reason=") for line in lines) == 4
    assert commands("housekeeping", "-l", "quiet", "run").err == ""
    events = [json.loads(line) for line in commands("housekeeping", "-l", "json", "run").err.splitlines()]
    assert {"stored 4 objects.", "received"} <= {event["event"] for event in events}
    assert "known stanzas" in commands("housekeeping", "-l", "none", "run", status=1).err


def test_the_modules_are_the_commands_too(commands: Commands) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.housekeeping", "list"],
        env=commands.environment,
        cwd=commands.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mock-db" in done.stdout
