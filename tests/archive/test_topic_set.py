"""Which topics are archived: chosen, not vetoed, allowed; and what is told about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import metrics
from pipeline.archive.source import liveness
from pipeline.archive.source.policy import AllTopics, LearnedPolicy, TopicPolicy, TopicRule
from pipeline.archive.source.topic_set import TopicSet
from pipeline.clock import ManualClock
from pipeline.errors import Unavailable
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import TopicSpec
from pipeline.settings import ArchiveSettings, load

START = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


class Told(LearnedPolicy):
    """A policy whose answers the test gives; None: it does not answer."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, 300)
        self.answer: list[TopicRule] | None = []
        self.asked = 0

    async def ask(self) -> list[TopicRule]:
        self.asked += 1
        if self.answer is None:
            raise Unavailable("ask for the topic policy", "it is down")
        return self.answer


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path / "log")
    await opened.open()
    names = ("alerts", "alerts.b", "sys.heartbeat", "sys.heartbeat-cit", "other", "__consumer_offsets")
    await opened.create_topics([TopicSpec(name, 2 if name == "other" else 1) for name in names])
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


def chosen(**values: Any) -> ArchiveSettings:
    return load({"archive": values}, environment={"XDG_CONFIG_HOME": "/nowhere"}).settings.archive


def topic_set(
    log: EmbeddedLog, clock: ManualClock, policy: TopicPolicy | None = None, **settings: Any
) -> TopicSet:
    named = settings.pop("named", ())
    return TopicSet(log, policy or AllTopics(), chosen(**settings), clock, named=named)


def states() -> Mapping[str, float]:
    """Give the metric."""
    names = ("archived", "vetoed", "refused", "missing")
    found = {
        name: metrics.REGISTRY.get_sample_value("headrace_archive_topics", {"state": name})
        for name in names
    }
    return {name: value for name, value in found.items() if value is not None}


async def test_every_listed_topic_is_archived_but_vetoed_ones_and_those_of_kafka(
    log: EmbeddedLog, clock: ManualClock
) -> None:
    assert await topic_set(log, clock).refresh() == {"alerts": 1, "alerts.b": 1, "other": 2}
    assert states() == {"archived": 3, "vetoed": 2, "refused": 0, "missing": 0}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"topics": ["alerts*"]}, ["alerts", "alerts.b"]),
        ({"topics": ["alerts"]}, ["alerts"]),
        ({"topics": ["__*"]}, []),
        ({"veto": ["alerts"]}, ["alerts.b", "other", "sys.heartbeat", "sys.heartbeat-cit"]),
        ({"veto": ["sys.*", "al*"]}, ["other"]),
        ({"named": ["other", "sys.heartbeat"], "topics": ["alerts"]}, ["other"]),
    ],
)
async def test_globs_choose_and_veto_and_a_plain_name_matches_only_itself(
    log: EmbeddedLog, clock: ManualClock, settings: dict[str, Any], names: list[str]
) -> None:
    assert list(await topic_set(log, clock, **settings).refresh()) == names


async def test_only_what_the_policy_allows_is_archived(log: EmbeddedLog, clock: ManualClock) -> None:
    policy = Told(clock)
    policy.answer = [
        TopicRule("alerts", archivable=True),
        TopicRule("other"),
        TopicRule("gone", archivable=True),
    ]
    topics = topic_set(log, clock, policy)
    assert await topics.refresh() == {"alerts": 1}
    assert states() == {"archived": 1, "vetoed": 2, "refused": 2, "missing": 1}
    policy.answer = []
    assert await topics.refresh() == {}


async def test_a_missing_topic_is_told_once(
    log: EmbeddedLog, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Told(clock)
    policy.answer = [TopicRule("gone", archivable=True), TopicRule("sys.heartbeat", archivable=True)]
    topics = topic_set(log, clock, policy)
    await topics.refresh()
    await topics.refresh()
    told = capsys.readouterr()
    assert (told.out + told.err).count("a topic to archive is not listed by the log") == 1


async def test_without_any_answer_of_the_policy_there_is_no_set_and_afterwards_the_last_one_stays(
    log: EmbeddedLog, clock: ManualClock
) -> None:
    policy = Told(clock)
    topics = topic_set(log, clock, policy)
    policy.answer = None
    before = metrics.REGISTRY.get_sample_value("headrace_archive_policy_failures_total") or 0
    with pytest.raises(Unavailable):
        await topics.refresh()
    assert topics.age_seconds is None
    policy.answer = [TopicRule("alerts", archivable=True)]
    await topics.refresh()
    policy.answer = None
    assert await topics.refresh() == {"alerts": 1}
    assert metrics.REGISTRY.get_sample_value("headrace_archive_policy_failures_total") == before + 2


async def test_new_topics_and_partitions_are_found_at_the_next_look(
    log: EmbeddedLog, clock: ManualClock
) -> None:
    topics = topic_set(log, clock)
    await topics.refresh()
    clock.advance(7)
    assert topics.age_seconds == 7
    await log.create_topics([TopicSpec("new"), TopicSpec("alerts", 3)], alter=True)
    assert await topics.refresh() == {"alerts": 3, "alerts.b": 1, "new": 1, "other": 2}
    assert topics.topics == {"alerts": 3, "alerts.b": 1, "new": 1, "other": 2}
    assert topics.age_seconds == 0


async def test_the_topics_file_gets_a_line_when_the_topics_change_and_never_otherwise(
    log: EmbeddedLog, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "topics.log"
    topics = topic_set(log, clock, topics=["alerts*"], topics_file=str(file))
    await topics.refresh()
    clock.advance(60)
    await topics.refresh()
    await log.create_topics([TopicSpec("alerts.c")])
    await topics.refresh()
    assert file.read_text().splitlines() == [
        "2024-01-02T03:04:05+00:00 alerts,alerts.b",
        "2024-01-02T03:05:05+00:00 alerts,alerts.b,alerts.c",
    ]


async def test_the_liveness_file_is_written_at_each_look_and_a_file_that_cannot_be_stops_nothing(
    log: EmbeddedLog, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "alive"
    topics = topic_set(log, clock, liveness_file=str(file), topics_file="/nowhere/topics.log")
    assert liveness.main([str(file)]) == 1
    await topics.refresh()
    assert liveness.main([str(file)]) == 0
    assert liveness.main([str(file), "1e9"]) == 0
    first = int(file.read_text())
    await topics.refresh()
    assert int(file.read_text()) > first
    file.write_text(str(first - 2_000 * 10**9))
    assert liveness.main([str(file)]) == 1
    assert liveness.main([str(file), "3000"]) == 0
    file.write_text("soon")
    assert liveness.main([str(file)]) == 1
    assert liveness.main([]) == 2
