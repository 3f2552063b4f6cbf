"""The archive's agent: topics that come, grow and go, and who may end a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.archiving import Archiving
from agents.run import Agents, running
from pipeline import limits_archive, metrics
from pipeline.app import Parts, make_parts, open_parts
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.storing import parking
from pipeline.archive_source import group_of, make_source
from pipeline.errors import Damaged, SettingError
from pipeline.log.port import NewRecord, TopicSpec
from tests.agents.archiving import (
    archive_settings,
    archived,
    archiving,
    committed,
    feed,
    places,
    until_archived,
)
from tests.agents.installation import parked_entries, settled, until

pytestmark = pytest.mark.timeout(120)
POLICY = (
    '[[topic]]\nname = "{unique}.a"\narchivable = {a}\n[[topic]]\nname = "{unique}.*"\narchivable = true\n'
)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_url(request: pytest.FixtureRequest) -> str:
    """Give the setting `log`, of each kind."""
    if request.param == "embedded":
        return "embedded:"
    return f"kafka://{request.getfixturevalue('kafka_address')}"


async def test_topics_that_come_grow_and_go_are_noticed_without_traffic_and_nothing_is_lost(
    tmp_path: Path, unique: str, log_url: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(unique=unique, a="true"))
    settings = archive_settings(tmp_path, unique, log_url, policy="file", policy_file=str(policy))
    a, b, c = f"{unique}.a", f"{unique}.b", f"{unique}.c"
    async with archiving(settings) as (parts, agents):
        # No topic at all is a state like any other.
        await until(lambda: _looked(agents.archiving))
        await parts.log.create_topics([TopicSpec(a)])
        await feed(parts.log, a, 30)
        await until_archived(parts, a, 30)
        # A new topic, while the others are silent.
        await parts.log.create_topics([TopicSpec(b, 2)])
        await feed(parts.log, b, 10, partition=1)
        await until_archived(parts, b, 0, 10)
        # More partitions, while the others are silent.
        await parts.log.create_topics([TopicSpec(a, 3)], alter=True)
        await feed(parts.log, a, 20, partition=2)
        await until_archived(parts, a, 30, 0, 20)
        # What is not to be archived any more is left where it is, and the others go on.
        policy.write_text(POLICY.format(unique=unique, a="false"))
        await until(lambda: _archives(agents.archiving, b))
        await feed(parts.log, a, 5)
        await feed(parts.log, b, 5)
        await parts.log.create_topics([TopicSpec(c)])
        await feed(parts.log, c, 1)
        await until_archived(parts, b, 5, 10)
        await until_archived(parts, c, 1)
        assert await archived(parts, a) == places(30, 0, 20)
        # It goes on where it stopped.
        policy.write_text(POLICY.format(unique=unique, a="true"))
        await until_archived(parts, a, 35, 0, 20)
        await settled(agents)
        assert await agents.backlog() == 0


async def test_nothing_is_archived_before_the_policy_was_learned_once(tmp_path: Path, unique: str) -> None:
    policy = tmp_path / "policy.toml"
    settings = archive_settings(tmp_path, unique, policy="file", policy_file=str(policy))
    topic = f"{unique}.a"
    async with archiving(settings) as (parts, agents):
        await parts.log.create_topics([TopicSpec(topic)])
        await feed(parts.log, topic, 3)
        assert agents.trouble() == ["the archive has not learned yet which topics to archive"]
        failures = _failures()
        await until(lambda: _more(failures))
        assert await archived(parts, topic) == places()
        policy.write_text(POLICY.format(unique=unique, a="true"))
        await until_archived(parts, topic, 3)
        assert agents.trouble() == []


async def test_a_message_that_stays_in_hand_too_long_is_trouble(
    tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its pack stays open until the archive ends.
    settings = archive_settings(tmp_path, unique, layout="packs", pack_seconds=600, refresh_seconds=600)
    topic = f"{unique}.a"
    async with open_parts(make_parts(settings)) as parts:
        await parts.log.create_topics([TopicSpec(topic)])
        async with running(parts) as agents:
            await feed(parts.log, topic, 1)
            await until(_in_hand)
            assert agents.trouble() == []
            monkeypatch.setattr(limits_archive, "ARCHIVE_STALE_SECONDS", 0.01)
            await until(lambda: _troubled(agents))
            assert agents.trouble()[0].startswith("the archive has had a message in hand for ")
        assert agents.trouble() == []
        assert await archived(parts, topic) == places(1)


async def _in_hand() -> bool:
    return bool(metrics.REGISTRY.get_sample_value("headrace_archive_oldest_unacknowledged_seconds"))


async def _troubled(agents: Agents) -> bool:
    return bool(agents.trouble())


class Ends:
    """An attendant that ends the run at the third message it is shown."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.seen: list[Message] = []

    def wanted(self, message: Message) -> bool:
        return message.offset != 1

    async def settled(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        assert all(outcome.stored for outcome in outcomes)
        self.seen += messages
        if len(self.seen) >= 3:
            raise self._error


@pytest.mark.parametrize("error", [Damaged("compare", "it is another"), ValueError("all seen")])
async def test_what_an_attendant_raises_ends_the_run_and_is_raised_there(
    tmp_path: Path, unique: str, log_url: str, error: Exception
) -> None:
    settings = archive_settings(tmp_path, unique, log_url)
    topic = f"{unique}.a"
    attendant = Ends(error)
    async with open_parts(make_parts(settings)) as parts:
        await parts.log.create_topics([TopicSpec(topic)])
        await feed(parts.log, topic, 2)
        with pytest.raises(type(error)) as caught:
            await _run_until_ended(parts, topic, attendant)
        assert caught.value is error
        # What was shown and not agreed to comes again, what was passed over does not.
        assert (await committed(parts.log, group_of(settings), topic))[0] <= 2
        async with running(parts) as agents:
            await settled(agents)
        assert (await archived(parts, topic)).keys() == places(12).keys() - {(0, 1)}


async def _run_until_ended(parts: Parts, topic: str, attendant: Ends) -> None:
    async with running(parts, attendant=attendant):
        await until(lambda: _has_seen(attendant, 1))
        await feed(parts.log, topic, 10)
        await until(lambda: _has_seen(attendant, 100))


async def _has_seen(attendant: Ends, count: int) -> bool:
    return len(attendant.seen) >= count


async def test_what_can_never_be_stored_is_parked_whole_and_the_partition_goes_on(
    tmp_path: Path, unique: str, log_url: str
) -> None:
    settings = archive_settings(tmp_path, unique, log_url, object_max_bytes=2000)
    topic = f"{unique}.a"
    headers = (("twice", b"1"), ("twice", None), ("empty", b""))
    async with archiving(settings) as (parts, agents):
        await parts.log.create_topics([TopicSpec(topic)])
        await parts.log.append(
            [
                NewRecord(topic, None, None, partition=0),
                NewRecord(topic, b"k", b"x" * 3000, headers, partition=0),
                NewRecord(topic, b"", b"", partition=0),
            ]
        )
        await settled(agents)
        assert await archived(parts, topic) == places(3) - places(2) + places(1)
        (entry,) = await parked_entries(parts)
        assert (entry.topic, entry.offset, entry.key, entry.headers) == (topic, 1, b"k", headers)
        (row,) = await parking.listed(parts.database)
        assert (row.topic, row.kafka_offset, row.error) == (topic, 1, entry.error)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("kafka://user:secret@h:9092", "shows up in logs"),
        ("kafka:///topic", "allowed: kafka://"),
        ("kafka://h:9092/a/b", "allowed: kafka://"),
        ("kafka://other@h:9092", "names another user"),
    ],
)
def test_a_wrong_source_is_told_before_anything_is_read(
    tmp_path: Path, unique: str, source: str, told: str
) -> None:
    settings = archive_settings(tmp_path, unique, source=source, kafka={"username": "user"})
    with pytest.raises(SettingError, match=told) as caught:
        make_source(make_parts(settings))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("archive", "group"),
    [
        ({}, "p-headrace-archive"),
        ({"group": "mine"}, "mine"),
        ({"source": "kafka://h:9092"}, "p-headrace-archive"),
        ({"source": "kafka://user@h:9092"}, "user-archive"),
        ({"source": "kafka://h:9092", "kafka": {"username": "user"}}, "user-archive"),
    ],
)
def test_a_group_is_named_after_the_user_where_there_is_one(
    tmp_path: Path, archive: dict[str, Any], group: str
) -> None:
    assert group_of(archive_settings(tmp_path, "p", **archive)) == group


async def _looked(archive: Archiving | None) -> bool:
    return archive is not None and archive.topics.age_seconds is not None


async def _archives(archive: Archiving | None, *topics: str) -> bool:
    return archive is not None and list(archive.topics.topics) == list(topics)


async def _more(failures: float) -> bool:
    return _failures() > failures


def _failures() -> float:
    return metrics.REGISTRY.get_sample_value("headrace_agent_failed_total", {"agent": "archive"}) or 0.0
