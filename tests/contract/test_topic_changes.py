"""Topics are brought to the settings at start, and nothing that cannot be had is taken for done."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import track
from pipeline.app import make_parts
from pipeline.errors import SettingError
from pipeline.events.topics import HUB, TABLE_TOPICS, TopicPlan, plan_from_text, system_topic
from pipeline.hub.changelogs import TABLES, changelog_topic
from pipeline.limits import HUB_SHARES
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, TopicSpec
from pipeline.settings import load
from pipeline.topic_changes import Change, find_changes, prepare_topics
from tests.processes import until

SOURCES = "sources: {a: {description: one source}}"


def planned(prefix: str, topics: str = "", *, partitions: int = 1, replicas: int = 1) -> TopicPlan:
    return plan_from_text(prefix, partitions=partitions, replicas=replicas, sources=SOURCES, topics=topics)


async def start(log: Log, plan: TopicPlan, *, ignore_mismatch: bool = True) -> dict[str, Change]:
    """Do what a start does; return what it changed, by the part of the name after the prefix."""
    changes = await prepare_topics(log, plan, ignore_mismatch=ignore_mismatch)
    return {change.spec.name.removeprefix(f"azul.{plan.prefix}."): change for change in changes}


async def counts(log: Log, prefix: str) -> dict[str, int]:
    """Return the partitions of our topics, by the part of the name after the prefix."""
    every = await log.topics()
    found = {name.removeprefix(f"azul.{prefix}."): count for name, count in every.items() if prefix in name}
    assert found.pop(f"system.{HUB}") == HUB_SHARES  # whatever is asked for
    return found


async def make_changelogs(log: Log, prefix: str, partitions: int = 1) -> None:
    names = [changelog_topic(prefix, table) for table in TABLES]
    await log.create_topics([TopicSpec(name, partitions) for name in names])


async def test_a_second_start_with_the_same_settings_changes_nothing(log: Log, unique: str) -> None:
    plan = planned(unique)
    first = await start(log, plan)
    assert {change.action for change in first.values()} == {"create"}
    assert set(first) == {*(await counts(log, unique)), f"system.{HUB}"}
    assert await start(log, plan) == {}


async def _shown(log: Log, name: str, setting: str, value: str) -> None:
    """Return when a topic shows a setting: a broker tells of a change a moment after it is made."""

    async def is_shown() -> bool:
        return (await log.describe_topics([name]))[name].config.get(setting) == value

    await until(is_shown)


async def test_what_was_set_by_hand_is_never_reset_and_what_is_asked_for_is_set(
    log: Log, unique: str
) -> None:
    await start(log, planned(unique))
    name = f"azul.{unique}.a.binary.sourced"
    hand = {"min.compaction.lag.ms": "1000", "retention.ms": "5000"}
    await log.create_topics([TopicSpec(name, config=hand)], alter=True)
    await _shown(log, name, "retention.ms", "5000")

    changed = await start(log, planned(unique, "- {topic: a.binary.sourced, numpartitions: 3}"))

    assert set(changed) == {"a.binary.sourced"}
    assert changed["a.binary.sourced"].summary == "partitions 1 → 3, retention.ms 5000 → -1"
    await _shown(log, name, "retention.ms", "-1")
    there = (await log.describe_topics([name]))[name]
    assert there.partitions == 3
    assert (there.config["min.compaction.lag.ms"], there.config["retention.ms"]) == ("1000", "-1")
    assert await find_changes(log, planned(unique, "- {topic: a.binary.sourced, numpartitions: 3}")) == []


async def test_a_topic_with_more_partitions_is_left_alone_or_stops_the_start(log: Log, unique: str) -> None:
    await start(log, planned(unique, "- {topic: a.binary.sourced, numpartitions: 3}"))
    wanted = planned(unique, "- {topic: a.binary.sourced, config: {retention.ms: 7}}", partitions=2)
    before = await log.describe_topics([spec.name for spec in wanted.specs])

    with pytest.raises(SettingError, match=r"a\.binary\.sourced.*3 partitions, 2 are asked for"):
        await start(log, wanted, ignore_mismatch=False)
    assert await log.describe_topics(list(before)) == before

    changed = await start(log, wanted)
    assert changed["a.binary.sourced"].action == "skip"
    assert changed["a.binary.mapped"].action == "alter"
    name = f"azul.{unique}.a.binary.sourced"
    assert (await log.describe_topics([name]))[name] == before[name]


@pytest.mark.kafka
async def test_other_replicas_are_told_and_left(kafka_address: str, unique: str) -> None:
    log = KafkaLog(KafkaConnection(bootstrap_servers=(kafka_address,)))
    await log.open()
    try:
        await start(log, planned(unique))
        changed = await start(log, planned(unique, "- {topic: system.error, replicationfactor: 2}"))
        assert changed["system.error"].reason == "it has 1 replicas, 2 are asked for"
        assert changed["system.error"].action == "skip"
    finally:
        await log.close()


# --- topics that tables are derived from ---


def test_every_topic_of_the_agent_with_tables_is_among_those_that_grow_together(tmp_path: Path) -> None:
    parts = make_parts(load({"data": str(tmp_path)}, environment={}).settings)
    prefix = parts.settings.events.prefix
    assert set(track.topics(parts)) == {system_topic(prefix, name) for name in TABLE_TOPICS}


def test_topics_of_tables_have_the_highest_number_of_partitions_asked_for() -> None:
    specs = {spec.name: spec for spec in planned("p", "- {topic: system.status, numpartitions: 3}").specs}
    assert {specs[system_topic("p", name)].partitions for name in TABLE_TOPICS} == {3}
    assert specs[system_topic("p", "insert")].partitions == 1


async def test_topics_of_tables_grow_with_their_changelogs_while_nothing_was_written(
    log: Log, unique: str
) -> None:
    await start(log, planned(unique))
    await make_changelogs(log, unique)
    await start(log, planned(unique, partitions=3))
    assert set((await counts(log, unique)).values()) == {3}
    assert await start(log, planned(unique, partitions=3)) == {}


@pytest.mark.parametrize("written", ["topic", "changelog"])
async def test_keys_never_move_away_from_their_rows(log: Log, unique: str, written: str) -> None:
    await start(log, planned(unique))
    await make_changelogs(log, unique)
    used = system_topic(unique, "task") if written == "topic" else changelog_topic(unique, TABLES[0])
    await log.append([NewRecord(used, b"k", b"v")])
    wanted = planned(unique, "- {topic: system.plugin, config: {retention.ms: 7}}", partitions=3)

    with pytest.raises(SettingError, match="tables are derived from it"):
        await start(log, wanted, ignore_mismatch=False)
    changed = await start(log, wanted)

    tied = {f"system.{name}" for name in TABLE_TOPICS}
    assert {name for name, change in changed.items() if "tables" in change.reason} == tied
    assert changed["system.plugin"].summary == "retention.ms 604800000 → 7"
    assert changed["system.task"].action == "skip"
    have = await counts(log, unique)
    assert {have.pop(name) for name in [*tied, *(changelog_topic(unique, table) for table in TABLES)]} == {
        1
    }
    assert set(have.values()) == {3}


async def test_a_topic_that_joins_used_ones_is_made_like_them(log: Log, unique: str) -> None:
    (task, *others) = (system_topic(unique, name) for name in TABLE_TOPICS)
    await log.create_topics([TopicSpec(name, 2) for name in others])
    await log.append([NewRecord(others[0], b"k", b"v")])
    await start(log, planned(unique, partitions=4))
    assert (await log.topics())[task] == 2
