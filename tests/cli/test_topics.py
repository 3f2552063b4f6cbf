"""headrace topics: what would change, changing it, and the exit code that tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Command

TOPICS = """
- {topic: testing.binary.sourced, numpartitions: 2, config: {retention.ms: 5000}}
- {topic: system.mine}
"""


def wants(folder: Path, monkeypatch: pytest.MonkeyPatch, topics: str = TOPICS) -> None:
    (folder / "topics.yaml").write_text(topics)
    monkeypatch.setenv("HEADRACE_EVENTS__TOPICS_FILE", str(folder / "topics.yaml"))


def test_a_plan_changes_nothing_and_its_exit_code_says_whether_it_would(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        changes = headrace("topics plan", "--json", code=5).json["changes"]
        assert {change["action"] for change in changes} == {"create"}
    assert headrace("topics apply", "--json").json["changes"] == changes
    assert headrace("topics plan", "--json").json == {"changes": []}
    wants(tmp_path, monkeypatch)
    table = headrace("topics plan", code=5)
    assert [line.split("\t") for line in table.lines] == [
        ["alter", "azul.test01.testing.binary.sourced", "partitions 1 → 2, retention.ms -1 → 5000", ""],
        ["create", "azul.test01.system.mine", "1 partitions", ""],
    ]
    assert "1 to create, 1 to alter, 0 to skip" in table.err
    assert headrace("topics apply").lines == table.lines
    assert headrace("topics plan").lines == []


def test_a_running_headrace_shows_and_applies_its_own_plan(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with headrace.serving():
        assert headrace("topics plan").lines == []
        wants(tmp_path, monkeypatch)
        assert headrace("topics plan").lines == []
    with headrace.serving():
        listed = {line.split("\t")[0]: line.split("\t")[1] for line in headrace("topics list").lines}
        assert listed["azul.test01.testing.binary.sourced"] == "2"
        assert headrace("topics apply", "--json").json == {"changes": []}


def test_what_cannot_be_had_is_said_and_makes_no_difference_to_the_exit_code(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants(tmp_path, monkeypatch)
    headrace("topics apply")
    wants(tmp_path, monkeypatch, "- {topic: testing.binary.sourced, numpartitions: 1}")
    (line,) = headrace("topics plan").lines
    assert line.split("\t")[0] == "skip"
    assert "it has 2 partitions, 1 are asked for" in line
    told = headrace("tasks list").err
    assert "it has 2 partitions, 1 are asked for" in told
    monkeypatch.setenv("HEADRACE_EVENTS__IGNORE_TOPIC_MISMATCH", "false")
    refused = headrace("tasks list", code=2).err
    assert "azul.test01.testing.binary.sourced" in refused
    assert "events.ignore_topic_mismatch" in refused
