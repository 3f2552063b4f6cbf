"""Topic policies: what a file or a server says, taken as a whole or not at all, and kept when it fails."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.source.policies import make_policy
from pipeline.archive.source.policy import AllTopics, TopicPolicy, TopicRule
from pipeline.archive.source.policy_file import read
from pipeline.clock import ManualClock
from pipeline.errors import SettingError
from pipeline.settings import load

START = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
START_MS = int(START.timestamp() * 1000)
FILE = """
[[topic]]
name = "alerts"
archivable = true
publicly_readable = true
owning_group = "gw"

[[topic]]
name = "lab.*"
archivable = true
index_archived_text = true

[[user]]
name = "alice"
read = ["alerts"]
"""

HALF = '[[topic]]\nname = "half"\narchivable = true\n'
"""Good by itself, and not to be taken when something else is wrong."""


def policy_of(clock: ManualClock | None = None, **archive: Any) -> TopicPolicy:
    settings = load({"archive": archive}, environment={"XDG_CONFIG_HOME": "/nowhere"}).settings
    return make_policy(settings, clock)


def test_by_default_every_topic_is_archived_and_public() -> None:
    policy = policy_of()
    assert policy.named() is None
    assert policy.rule("any+oversized") == TopicRule("any", archivable=True, publicly_readable=True)
    assert isinstance(policy, AllTopics)


@pytest.mark.parametrize("policy", ["file", "http"])
def test_a_policy_that_is_not_told_where_is_refused(policy: str) -> None:
    with pytest.raises(SettingError, match=r"archive\.policy_(file|url)"):
        policy_of(policy=policy)


async def test_a_topic_nobody_knows_has_no_rights_and_oversized_messages_have_those_of_their_topic(
    tmp_path: Path,
) -> None:
    (tmp_path / "policy.toml").write_text(FILE)
    policy = policy_of(policy="file", policy_file=str(tmp_path / "policy.toml"))
    assert policy.rule("alerts") == TopicRule("alerts")
    await policy.refresh()
    known = TopicRule("alerts", archivable=True, publicly_readable=True, owning_group="gw")
    assert policy.rule("alerts") == policy.rule("alerts+oversized") == known
    assert policy.rule("lab.one+oversized") == TopicRule(
        "lab.one", archivable=True, index_archived_text=True
    )
    assert policy.rule("alerts.b") == TopicRule("alerts.b")
    assert list(policy.named() or {}) == ["alerts", "lab.*"]


def test_users_are_given_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(FILE)
    assert read(tmp_path / "policy.toml").users == [{"name": "alice", "read": ["alerts"]}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[topic]\n", "not TOML"),
        ("topics = []\n", "unknown key 'topics'"),
        ('topic = "alerts"\n', "write [[topic]]"),
        ('[[topic]]\nname = "alerts"\npublic = true\n', "topic 'alerts'"),
        ('[[topic]]\nname = "alerts"\narchivable = "yes"\n', "Expected `bool`"),
        ("[[topic]]\narchivable = true\n", "name"),
        ('[[topic]]\nname = ""\n', "the name is empty"),
        ('[[topic]]\nname = "a"\n[[topic]]\nname = "a"\n', "more than once"),
    ],
)
async def test_a_wrong_file_is_told_with_its_place_and_the_last_good_rules_stay(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(FILE)
    policy = policy_of(policy="file", policy_file=str(file))
    await policy.refresh()
    file.write_text(HALF + text if text.startswith("[") else text)
    with pytest.raises(SettingError) as caught:
        await policy.refresh()
    assert told in str(caught.value)
    assert str(file) in str(caught.value)
    assert list(policy.named() or {}) == ["alerts", "lab.*"]
    file.unlink()
    with pytest.raises(SettingError, match="No such file"):
        await policy.refresh()


async def test_a_changed_file_counts_from_the_next_refresh(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(FILE)
    policy = policy_of(policy="file", policy_file=str(file))
    await policy.refresh()
    file.write_text('[[topic]]\nname = "new"\narchivable = true\n')
    assert not policy.rule("new").archivable
    await policy.refresh()
    assert policy.rule("new").archivable
    assert not policy.rule("alerts").archivable


async def test_an_answer_is_asked_for_again_when_it_is_too_old_for_the_message(tmp_path: Path) -> None:
    file, clock = tmp_path / "policy.toml", ManualClock(START)
    file.write_text(FILE)
    policy = policy_of(clock, policy="file", policy_file=str(file))
    assert (await policy.fresh_rule("alerts", START_MS)).archivable
    file.write_text('[[topic]]\nname = "new"\narchivable = true\n')
    # Known, or older than the answer, or just asked: the last answer is good enough.
    clock.advance(20)
    assert (await policy.fresh_rule("alerts", START_MS + 15_000)).archivable
    assert not (await policy.fresh_rule("new", START_MS - 1)).archivable
    # Unknown and newer than the answer.
    assert (await policy.fresh_rule("new", START_MS + 15_000)).archivable
    file.write_text(FILE)
    assert not (await policy.fresh_rule("alerts", START_MS + 10**12)).archivable
    # Older than archive.refresh_seconds.
    clock.advance(301)
    assert not (await policy.fresh_rule("new", START_MS)).archivable
    # What fails leaves the last answer, and is not asked for by every message.
    file.write_text("nonsense")
    clock.advance(301)
    assert (await policy.fresh_rule("alerts", START_MS)).archivable
