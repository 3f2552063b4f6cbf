"""headrace config: values with their origin, the order of the layers, refusals that say what is wrong."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Command


def shown(headrace: Command, *options: str) -> dict[str, tuple[Any, str]]:
    """Return the value and the origin of each setting."""
    rows = headrace.plain(*options, "config", "show", "--json").json
    return {row["name"]: (row["value"], row["origin"]) for row in rows}


def test_each_layer_wins_over_the_one_before(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(headrace)["events.prefix"] == ("test01", "headrace.toml")
    usual = tmp_path / "headrace" / "headrace.toml"
    usual.parent.mkdir()
    usual.write_text('[events]\nprefix = "users"\n')
    assert shown(headrace)["events.prefix"] == ("users", str(usual))
    named = tmp_path / "named.toml"
    named.write_text('[events]\nprefix = "named"\n')
    monkeypatch.setenv("HEADRACE_CONFIG", str(named))
    assert shown(headrace)["events.prefix"] == ("named", str(named))
    other = tmp_path / "other.toml"
    other.write_text('[events]\nprefix = "other"\n[worker]\nagents = ["index"]\n')
    assert shown(headrace, "--config", str(other))["events.prefix"] == ("other", str(other))
    monkeypatch.setenv("HEADRACE_EVENTS__PREFIX", "environment")
    values = shown(headrace, "--config", str(other))
    assert values["events.prefix"] == ("environment", "environment")
    assert values["worker.agents"] == (["index"], str(other))
    values = shown(headrace, "-s", "events.prefix=line")
    assert values["events.prefix"] == ("line", "command line")
    assert values["events.partitions"] == (1, "headrace.toml")


def test_lists_and_tables_come_from_the_environment_too(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TASKS__BACKOFF_SECONDS", "[1, 2.5]")
    monkeypatch.setenv("HEADRACE_EVENTS__SOURCES__MAIL", '{description = "from mail"}')
    values = shown(headrace)
    assert values["tasks.backoff_seconds"] == ([1.0, 2.5], "environment")
    assert values["events.sources.mail.description"] == ("from mail", "environment")
    assert values["events.sources.testing.description"][1] == "headrace.toml"


def test_passwords_are_never_shown(headrace: Command) -> None:
    options = [
        *("-s", "database=postgresql://me:topsecret@127.0.0.1:1/db"),
        *("-s", "objects=s3+http://key:topsecret@127.0.0.1:1/bucket"),
        *("-s", "kafka.password=topsecret"),
        *("-s", "streams.aes_key=topsecret_topsecret_topk"),
    ]
    assert "topsecret" not in headrace.plain(*options, "config", "show").text
    assert "topsecret" not in headrace.plain(*options, "config", "show", "--json").text


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("log=redis://host", "embedded:"),
        ("objects=ftp://host", "folder:"),
        ("database=mysql://host/db", "postgresql://"),
        ("index=elastic", "opensearch+http://"),
        ("web.listen=everywhere", "host:port"),
        ("events.prefix=with space", "letters"),
        ("events.partitions=0", "greater than 0"),
        ('worker.agents=["dance"]', "enrich"),
        ("archive.dedupe=none", "exact"),
        ("kafka.session_seconds=0", "greater than or equal to 1"),
        ("logging.level=LOUD", "DEBUG"),
        ("streams.aes=yes", "readonly"),
        ("streams.cache_bytes=-1", "is no size"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(
    headrace: Command, setting: str, allowed: str
) -> None:
    name, _, value = setting.partition("=")
    for command in (["config", "show"], ["version", "--help"], ["topics", "list"]):
        if "--help" in command:
            headrace.plain("-s", setting, *command)
            continue
        refused = headrace.plain("-s", setting, *command, code=2).err
        assert name in refused
        assert value.strip('[]"') in refused
        assert allowed in refused
        assert "command line" in refused
        assert "Traceback" not in refused


def test_a_key_that_does_not_fit_is_refused_and_not_shown(headrace: Command) -> None:
    wrong = ["-s", "streams.aes=readonly", "-s", "streams.aes_key=topsecret"]
    for options in (wrong, wrong[:2], wrong[2:]):
        refused = headrace.plain(*options, "config", "show", code=2).err
        assert "streams.aes_key = …" in refused
        assert "24 bytes" in refused
        assert "topsecret" not in refused
    headrace.plain("-s", f"streams.aes_key={'x' * 24}", "config", "show")


def test_an_unknown_setting_is_refused_wherever_it_stands(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no such setting" in headrace.plain("-s", "web.port=1", "config", "show", code=2).err
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[web]\nport = 1\n")
    refused = headrace.plain("--config", str(wrong), "config", "show", code=2).err
    assert "web.port" in refused
    assert str(wrong) in refused
    monkeypatch.setenv("HEADRACE_WEBB__LISTEN", "127.0.0.1:1")
    assert "webb" in headrace.plain("config", "show", code=2).err


def test_a_value_and_a_table_of_one_name_contradict_each_other(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = headrace.plain("-s", "web=1", "-s", "web.listen=127.0.0.1:1", "config", "show", code=2)
    assert "web is given a value of its own" in refused.err
    monkeypatch.setenv("HEADRACE_WEB", "1")
    monkeypatch.setenv("HEADRACE_WEB__LISTEN", "127.0.0.1:1")
    assert "web" in headrace.plain("config", "show", code=2).err


def test_a_settings_file_that_cannot_be_read_is_named(headrace: Command, tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert str(missing) in headrace.plain("--config", str(missing), "config", "show", code=2).err
    broken = tmp_path / "broken.toml"
    broken.write_text("[events\n")
    assert "not TOML" in headrace.plain("--config", str(broken), "config", "show", code=2).err


def test_check_connects_to_every_part_and_its_exit_code_says_whether_all_answer(
    headrace: Command, tmp_path: Path
) -> None:
    data = ("-s", f"data={tmp_path / 'checked'}")
    good = headrace.plain(*data, "config", "check")
    assert [line.split()[:2] for line in good.lines] == [
        ["ok", part] for part in ("log", "objects", "database", "index")
    ]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        bad = headrace.plain(
            *data, "-s", f"index=opensearch+http://{nobody}", "config", "check", "--json", code=4
        )
    results = {result["part"]: result for result in json.loads(bad.out)}
    assert {part for part, result in results.items() if result["ok"]} == {"log", "objects", "database"}
    assert nobody in results["index"]["detail"]


def test_check_tries_the_source_and_the_policy_of_the_archive(headrace: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[topic]]\nname = "a"\npublic = true\n')
    given = ("-s", f"data={tmp_path / 'checked'}", "-s", "archive.policy=file")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        source = ("-s", f"archive.policy_file={policy}", "-s", f"archive.source=kafka://{nobody}")
        answer = json.loads(headrace.plain(*given, *source, "config", "check", "--json", code=4).out)
    said = {each["part"]: each for each in answer if not each["ok"]}
    assert said.keys() == {"archive.source", "archive.policy"}
    assert "unknown field `public`" in said["archive.policy"]["detail"]
