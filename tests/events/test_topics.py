"""Topics: their names, which event goes where, the default table, and what overrides what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline import limits
from pipeline.errors import NotFound, SettingError
from pipeline.events.models import BinaryEvent, BinaryFlags, Event, Source
from pipeline.events.names import ACTIONS, MODELS, Model
from pipeline.events.topics import (
    BinaryTopic,
    SystemTopic,
    TopicPlan,
    binary_pattern,
    binary_topic,
    model_of_topic,
    parse_topic,
    parse_topics,
    plan,
    plan_from_text,
    system_topic,
    topic_of,
)
from pipeline.log.port import TopicSpec
from tests.events.strategies import any_event

WEEK_MS, DAY_MS, HALF_DAY_MS, FOUR_WEEKS_MS = "604800000", "86400000", "43200000", "2419200000"
HALF_HOUR_MS = "1800000"
SOURCE_NAMES = st.text("abcZ09_-", min_size=1, max_size=20).filter(lambda name: name != "system")
NON_BINARY = [model for model in MODELS if model != "binary"]


def planned(sources: str = "", topics: str = "", partitions: int = 1, replicas: int = 1) -> TopicPlan:
    """Plan for prefix ``test01``."""
    return plan_from_text(
        "test01", partitions=partitions, replicas=replicas, sources=sources, topics=topics
    )


def spec(plan: TopicPlan, rest: str) -> TopicSpec:
    """Return one topic of a plan by its name without ``azul.test01.``."""
    (found,) = [topic for topic in plan.specs if topic.name == f"azul.test01.{rest}"]
    return found


@given(st.sampled_from(NON_BINARY).flatmap(lambda model: st.tuples(st.just(model), any_event(model))))
def test_every_other_event_goes_to_the_topic_of_its_model(pair: tuple[Model, Event]) -> None:
    model, event = pair
    topic = topic_of("test01", event)
    assert topic == f"azul.test01.system.{model}"
    assert model_of_topic(topic) == model


@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (BinaryFlags(), "testing.binary.sourced"),
        (BinaryFlags(bypass_cache=True), "testing.binary.sourced"),
        (BinaryFlags(expedite=True), "system.expedite"),
        (BinaryFlags(retry=True), "system.error"),
        (BinaryFlags(expedite=True, retry=True), "system.expedite"),
    ],
)
def test_an_expedited_binary_event_goes_only_to_the_expedite_topic(flags: BinaryFlags, rest: str) -> None:
    event = BinaryEvent(action="sourced", source=Source(name="testing"), flags=flags)
    assert topic_of("test01", event) == f"azul.test01.{rest}"
    assert model_of_topic(topic_of("test01", event)) == "binary"


@given(st.sampled_from(["test01", "a-b_c", "x.y"]), SOURCE_NAMES, st.sampled_from(ACTIONS))
def test_a_binary_topic_is_taken_apart_again(prefix: str, source: str, action: str) -> None:
    topic = binary_topic(prefix, source, action)
    assert parse_topic(prefix, topic) == BinaryTopic(source, action)
    assert model_of_topic(topic) == "binary"
    assert binary_pattern(prefix).match(topic)
    assert binary_pattern(prefix, [source], [action]).match(topic)
    assert not binary_pattern(prefix, [source + "x"]).match(topic)
    assert not binary_pattern(prefix, [], ["other"]).match(topic)


def test_system_topics_are_told_from_binary_ones() -> None:
    assert parse_topic("test01", system_topic("test01", "status")) == SystemTopic("status")
    assert not binary_pattern("test01").match(system_topic("test01", "status"))
    for other in (
        "azul.test02.system.status",
        "azul.test01.a.binary.eaten",
        "azul.test01.a.b.binary.sourced",
    ):
        assert parse_topic("test01", other) is None
        assert not binary_pattern("test01", ["a"], ["sourced"]).match(other)
    assert not binary_pattern("test01").match("azul.test01.a.b.binary.sourced")
    for strange in (
        "status",
        "azul.test01.system.report",
        "azul.test01.system.task",
        "azul.test01.system.binary",
    ):
        with pytest.raises(NotFound):
            model_of_topic(strange)


def test_the_default_table_is_the_one_of_the_contract_and_our_five() -> None:
    table = {
        "insert": ("compact", "-1"),
        "delete": ("compact", "-1"),
        "expedite": ("delete", WEEK_MS),
        "error": ("delete", WEEK_MS),
        "plugin": ("delete", WEEK_MS),
        "status": ("delete", DAY_MS),
        "download": ("delete", HALF_DAY_MS),
        "retrohunt": ("compact", "-1"),
        "report": ("delete", FOUR_WEEKS_MS),
        "scrape": ("delete", FOUR_WEEKS_MS),
        "task": ("delete", WEEK_MS),
        "parked": ("compact", "-1"),
        "hub": ("compact", "-1"),
        "seen": ("delete", WEEK_MS),
        "replay": ("delete", HALF_HOUR_MS),
    }
    expected = {f"azul.test01.system.{name}": kept for name, kept in table.items()}
    plan = planned(partitions=4, replicas=2)
    assert {t.name: (t.config["cleanup.policy"], t.config["retention.ms"]) for t in plan.specs} == expected
    shares = {"azul.test01.system.hub": limits.HUB_SHARES}
    short = dict.fromkeys(("azul.test01.system.seen", "azul.test01.system.replay"), "67108864")
    assert {(t.name, t.partitions, t.replicas, t.config["segment.bytes"]) for t in plan.specs} == {
        (name, shares.get(name, 4), 2, short.get(name, "1073741824")) for name in expected
    }


def test_how_long_a_topic_is_kept_may_be_a_setting_which_the_topics_yaml_still_wins_over() -> None:
    over = parse_topics("- {topic: system.replay, config: {retention.ms: 5}}")
    kept = {"seen": 60.0, "replay": 120.0}
    made = plan("test01", partitions=1, replicas=1, sources={}, topics=over, kept_seconds=kept)
    assert spec(made, "system.seen").config["retention.ms"] == "60000"
    assert spec(made, "system.seen").config["cleanup.policy"] == "delete"
    assert spec(made, "system.replay").config["retention.ms"] == "5"


def test_every_source_has_five_topics_whether_or_not_it_says_anything_about_kafka() -> None:
    plan = planned("sources: {incidents: , other: {kafka: {numpartitions: 3}}}", partitions=2)
    assert [parse_topic("test01", t.name) for t in plan.specs if ".binary." in t.name] == [
        BinaryTopic(source, action) for source in ("incidents", "other") for action in ACTIONS
    ]
    assert spec(plan, "incidents.binary.sourced").partitions == 2
    assert spec(plan, "other.binary.mapped").partitions == 3
    assert list(plan.sources) == ["incidents", "other"]
    assert plan.sources["other"].name == "other"


def test_a_source_without_expiry_is_compacted_for_ever_and_gets_nothing_else() -> None:
    config = spec(planned("sources: {a: {}}"), "a.binary.sourced").config
    assert config == {"cleanup.policy": "compact", "retention.ms": "-1"}


def test_the_expiry_of_a_source_wins_over_its_kafka_block() -> None:
    text = """
sources:
  a:
    expire_events_after: 2 months
    kafka:
      config:
        retention.ms: 5
        cleanup.policy: compact
        segment.bytes: 1000
        unclean.leader.election.enable: false
"""
    assert spec(planned(text), "a.binary.sourced").config == {
        "cleanup.policy": "delete",
        "retention.ms": "5184000000",
        "segment.bytes": "1000",
        "unclean.leader.election.enable": "false",
    }


def test_naming_a_topic_for_its_partitions_never_changes_how_long_it_is_kept() -> None:
    """The reference resets it to compaction; we fill from the layer below."""
    plan = planned(topics="- {topic: system.status, numpartitions: 3}")
    status = spec(plan, "system.status")
    assert status.partitions == 3
    assert status.config == spec(planned(), "system.status").config


def test_the_topics_yaml_wins_over_the_sources_which_win_over_the_defaults() -> None:
    sources = "sources: {a: {expire_events_after: 1 days, kafka: {numpartitions: 3, replicationfactor: 2}}}"
    topics = """
- topic: a.binary.sourced
  numpartitions: 4
  config: {retention.ms: 172800000, segment.bytes: 10}
- topic: a.binary.mapped
  replicationfactor: 3
"""
    plan = planned(sources, topics, partitions=7, replicas=7)
    assert replace(spec(plan, "a.binary.sourced"), name="") == TopicSpec(
        "", 4, 2, {"cleanup.policy": "delete", "retention.ms": "172800000", "segment.bytes": "10"}
    )
    assert spec(plan, "a.binary.mapped").partitions == 3
    assert spec(plan, "a.binary.mapped").replicas == 3
    assert spec(plan, "a.binary.augmented").replicas == 2
    assert spec(plan, "system.status").partitions == 7


def test_a_name_no_layer_knows_is_added() -> None:
    plan = planned(
        topics="- topic: system.mine\n- {topic: system.yours, config: {retention.ms: 1}}", partitions=2
    )
    assert spec(plan, "system.mine").config == spec(plan, "system.parked").config
    assert spec(plan, "system.mine").partitions == 2
    assert spec(plan, "system.yours").config == {"retention.ms": "1"}


def test_numbers_and_texts_in_a_config_are_the_same() -> None:
    for value in ("172800000", "'172800000'"):
        plan = planned(topics=f"- {{topic: system.status, config: {{retention.ms: {value}}}}}")
        assert spec(plan, "system.status").config["retention.ms"] == "172800000"


@pytest.mark.parametrize(
    "text",
    [
        "topic: system.status",
        "- numpartitions: 3",
        "- {topic: system.status, partitions: 3}",
        "- {topic: system.status, numpartitions: -1}",
        "- {topic: system.status, numpartitions: three}",
        "- {topic: system.status, config: {retention.ms: [1]}}",
        "- {topic: system.status, config: {retention.ms: }}",
        "- {topic: system.status, topic: system.error}",
        "- {topic: system.status, replicaassignment: {0: [1]}}",
        "- {topic: 'system.sta tus'}",
        "- {topic: ''}",
        "- {topic: 'a..b'}",
        "- topic: !!python/object/apply:os.getcwd []",
        "- [",
    ],
)
def test_a_wrong_topics_yaml_is_refused(text: str) -> None:
    with pytest.raises(SettingError):
        planned(topics=text)


@pytest.mark.parametrize("prefix", ["", ".", "a b", "a/b", "a.", ".a", "ä"])
def test_a_prefix_that_makes_illegal_names_is_refused(prefix: str) -> None:
    with pytest.raises(SettingError):
        plan_from_text(prefix, partitions=1, replicas=1)


@given(SOURCE_NAMES)
def test_every_planned_name_is_legal_for_kafka(source: str) -> None:
    for topic in planned(f"sources: {{'{source}': }}").specs:
        assert len(topic.name) <= 249
        assert set(topic.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
