"""The dispatcher's names of settings: each means ours, or is said to mean nothing and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SettingError
from pipeline.objects.location import s3_config
from pipeline.settings import Loaded, flatten, load
from pipeline.settings_aliases import ALIASES, OBJECTS
from pipeline.settings_unused import UNUSED
from tests.cli.command import Command

TABLE = Path(__file__).parent.parent.parent / "docs/dispatcher-settings.md"
CONTRACT = """
DP__LISTEN_ADDR DP__LOG_PATH
DP__STREAMS__ BACKEND S3__ENDPOINT S3__ACCESS_KEY S3__SECRET_KEY S3__REGION S3__SECURE S3__BUCKET
 S3__ENABLE_AUTOMATIC_AGEOFF S3__ENABLE_AUTOMATIC_AGEOFF_CLEANUP AZURE__ENDPOINT AZURE__STORAGE_ACCOUNT
 AZURE__ACCESS_KEY AZURE__CONTAINER LOCAL__PATH CACHE__SIZE_BYTES CACHE__SHARDS CACHE__TTL_SECONDS
 FCACHE__PATH API_ALLOW_DELETE XOR_ENCODING AES_KEY AES_ENABLED
DP__EVENTS__ KAFKA__ENDPOINT KAFKA__CONNECT_RETRIES KAFKA__TOPIC_PREFIX KAFKA__CONSUMER_GROUP_RETENTION_DAYS
 KAFKA__POLL_WAIT_EVENTS KAFKA__POLL_WAIT_REPROCESSOR KAFKA__POLL_WAIT_PIPELINE KAFKA__MESSAGE_MAX_BYTES
 KAFKA__CONSUMER_FETCH_BATCH_BYTES KAFKA__NETWORK_CONNECTIONS_PER_ACTION
 KAFKA__PRODUCER_QUEUE_BUFFERING_MAX_MESSAGES KAFKA__CONSUMER_QUEUE_BUFFERING_MAX_MESSAGES
 KAFKA__PRODUCER_MAX_MESSAGES ENABLE_EXTENDED_KAFKA_METRICS REDIS__ENDPOINT REDIS__USERNAME REDIS__PASSWORD
 REDIS__MAX_RETRIES REPLAY_PLUGIN_CACHE__SIZE_BYTES REPLAY_PLUGIN_CACHE__MIN_RUNTIME_SECONDS
 REPLAY_PLUGIN_CACHE__TTL_SECONDS DEDUPE_CACHE_BYTES IGNORE_TOPIC_MISMATCH GLOBAL_REPLICA_COUNT
 GLOBAL_PARTITION_COUNT SOURCES TOPICS MAX_CONSUMED_EVENTS_PER_CONSUMER API_EVENT_FETCH_LIMIT
 API_DEFAULT_EVENT_WAIT LOST_TASKS_AFTER_MINUTES LOST_TASKS_CHECK_MINUTES LOST_TASKS_BULK_CREATE_LIMIT
 REPROCESS__DENY_TOPICS REPROCESS__CONSUMER_GROUP REPROCESS__UPGRADE_SOURCES REPROCESS__UPGRADE_SYSTEM
 REPROCESS__INCLUDE_SYSTEM REPROCESS__PREVIOUS_PREFIX REPROCESS__LEGACY_JSON
 REPROCESS__MAX_NUMBER_OF_EMPTY_POLLS
 OLD_CONSUMER_GROUP_DROPPED_MINUTES OLD_CONSUMER_GROUP_DROPPER_CHECK_FREQUENCY_MINUTES
BED__ LOG_LEVEL LOG_PRETTY TRANSPORT__DIAL_TIMEOUT_SECONDS TRANSPORT__DIAL_KEEP_ALIVE_SECONDS
 TRANSPORT__MAX_IDLE_CONNECTIONS TRANSPORT__MAX_IDLE_CONNECTIONS_PER_HOST
 TRANSPORT__IDLE_HEADER_TIMEOUT_SECONDS TRANSPORT__IDLE_CONNECTION_TIMEOUT_SECONDS
 TRANSPORT__TLSH_HANDSHAKE_TIMEOUT_SECONDS
 TRANSPORT__DISABLE_COMPRESSION S3_LIST__USE_V1_API S3_LIST__MAX_KEYS
"""
"""Every name of the contract's section 19; a name that ends in __ is the prefix of those after it."""


def contract_names() -> list[str]:
    names, prefix = [], ""
    for word in CONTRACT.split():
        if word.endswith("__"):
            prefix = word
        else:
            names.append(word if word.startswith("DP__") else prefix + word)
    return names


NAMES = contract_names()


def loaded(**variables: str) -> Loaded:
    return load(environment={"XDG_CONFIG_HOME": "/nonexistent", **variables})


def value(setting: str, **variables: str) -> Any:
    return flatten(loaded(**variables).settings.model_dump(mode="json"))[setting]


def test_every_name_of_the_contract_is_taken_or_has_its_reason() -> None:
    assert len(NAMES) == len(set(NAMES)) == 79
    taken = {*ALIASES, *OBJECTS}
    assert taken <= set(NAMES)
    without = {name for name in NAMES if any(re.fullmatch(pattern, name) for pattern in UNUSED)}
    assert without == set(NAMES) - taken


@pytest.mark.parametrize("pattern", sorted(UNUSED))
def test_no_reason_is_left_over(pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_in_the_table_with_what_became_of_it(name: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TABLE.read_text(), re.MULTILINE))
    assert set(rows) == set(NAMES)
    if name in ALIASES:
        assert f"`{ALIASES[name].setting}`" in rows[name]
    elif name in OBJECTS:
        assert "`objects`" in rows[name]
    else:
        (why,) = [why for pattern, why in UNUSED.items() if re.fullmatch(pattern, name)]
        assert why in rows[name]


@pytest.mark.parametrize(
    ("variable", "text", "setting", "expected"),
    [
        ("DP__LISTEN_ADDR", ":8222", "web.listen", "0.0.0.0:8222"),
        ("DP__LISTEN_ADDR", "127.0.0.1:8222", "web.listen", "127.0.0.1:8222"),
        ("DP__EVENTS__KAFKA__ENDPOINT", "broker:9092", "log", "kafka://broker:9092"),
        ("DP__EVENTS__KAFKA__TOPIC_PREFIX", "lab", "events.prefix", "lab"),
        ("DP__EVENTS__GLOBAL_PARTITION_COUNT", "4", "events.partitions", 4),
        ("DP__EVENTS__GLOBAL_REPLICA_COUNT", "3", "events.replicas", 3),
        ("DP__EVENTS__IGNORE_TOPIC_MISMATCH", "F", "events.ignore_topic_mismatch", False),
        ("DP__EVENTS__LOST_TASKS_AFTER_MINUTES", "30", "tasks.lapse_seconds", 1800.0),
        ("DP__EVENTS__LOST_TASKS_CHECK_MINUTES", "2", "tasks.scan_interval_seconds", 120.0),
        ("DP__STREAMS__API_ALLOW_DELETE", "t", "hub.allow_delete", True),
        ("DP__EVENTS__REPROCESS__DENY_TOPICS", "a.b, c.d", "reprocess.deny_topics", ("a.b", "c.d")),
        ("DP__STREAMS__XOR_ENCODING", "true", "streams.xor", "enabled"),
        ("DP__STREAMS__XOR_ENCODING", "false", "streams.xor", "readonly"),
        ("DP__STREAMS__AES_ENABLED", "no", "streams.aes", "off"),
        ("DP__STREAMS__CACHE__SIZE_BYTES", "1MiB", "streams.cache_bytes", 2**20),
        ("DP__STREAMS__CACHE__TTL_SECONDS", "60", "streams.cache_seconds", 60.0),
        ("DP__STREAMS__S3__ENABLE_AUTOMATIC_AGEOFF", "true", "streams.age_off", "on"),
        ("DP__STREAMS__S3__ENABLE_AUTOMATIC_AGEOFF_CLEANUP", "true", "streams.age_off", "cleanup"),
        ("DP__EVENTS__API_EVENT_FETCH_LIMIT", "50", "hub.fetch_limit", 50),
        ("DP__EVENTS__API_DEFAULT_EVENT_WAIT", "2", "hub.default_wait_seconds", 2),
        ("BED__LOG_LEVEL", "trace", "logging.level", "DEBUG"),
        ("BED__LOG_LEVEL", "WARN", "logging.level", "WARNING"),
        ("BED__LOG_PRETTY", "false", "logging.format", "json"),
    ],
)
def test_a_name_means_our_setting_in_our_spelling(
    variable: str, text: str, setting: str, expected: Any
) -> None:
    given = loaded(**{variable: text})
    assert flatten(given.settings.model_dump())[setting] == expected
    assert given.origins[setting] == f"environment {variable}"
    assert given.warnings == ()


def test_sources_and_topics_are_texts_of_yaml() -> None:
    sources = "sources:\n  mail:\n    description: from mail\n    expire_events_after: 2 months\n"
    topics = "- topic: system.status\n  numpartitions: 3\n"
    given = loaded(DP__EVENTS__SOURCES=sources, DP__EVENTS__TOPICS=topics)
    assert given.settings.events.sources["mail"]["expire_events_after"] == "2 months"
    assert "testing" in given.settings.events.sources
    assert given.settings.events.topics == ({"topic": "system.status", "numpartitions": 3},)
    assert given.origins["events.sources.mail.description"] == "environment DP__EVENTS__SOURCES"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"BACKEND": "local", "LOCAL__PATH": "/srv/a store"}, "folder:///srv/a%20store"),
        ({"BACKEND": "local"}, "folder:///tmp/store"),
        ({"S3__ENDPOINT": "s3:9000"}, "s3+http://s3:9000/azul"),
        ({"S3__ENDPOINT": "s3", "S3__SECURE": "true", "S3__REGION": "eu"}, "s3+https://s3/azul?region=eu"),
        ({"BACKEND": "s3", "S3__BUCKET": "ours", "S3__REGION": "eu"}, "s3://ours?region=eu"),
    ],
)
def test_storage_settings_together_name_the_object_store(given: dict[str, str], expected: str) -> None:
    assert value("objects", **{f"DP__STREAMS__{name}": text for name, text in given.items()}) == expected


def test_keys_with_any_characters_reach_the_store_whole() -> None:
    names = {"S3__ENDPOINT": "s3:9000", "S3__ACCESS_KEY": "a/b@c", "S3__SECRET_KEY": "x:y/z+%="}
    config = s3_config(value("objects", **{f"DP__STREAMS__{name}": text for name, text in names.items()}))
    assert (config.access_key, config.secret_key) == ("a/b@c", "x:y/z+%=")
    assert (config.endpoint, config.bucket, config.allow_http) == ("http://s3:9000", "azul", True)


def test_names_are_read_in_any_case_and_underscores_win_over_dots() -> None:
    dotted = {"DP.events.Kafka.topic_prefix": "dots"}
    assert value("events.prefix", **dotted) == "dots"
    assert loaded(**dotted).origins["events.prefix"] == "environment DP.events.Kafka.topic_prefix"
    assert value("events.prefix", **dotted, DP__events__kafka__TOPIC_PREFIX="lines") == "lines"


def test_our_own_names_win_and_the_files_lose(tmp_path: Path) -> None:
    (tmp_path / "headrace").mkdir()
    (tmp_path / "headrace/headrace.toml").write_text('[events]\nprefix = "file"\npartitions = 7\n')
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "DP__EVENTS__KAFKA__TOPIC_PREFIX": "theirs",
        "DP__EVENTS__GLOBAL_PARTITION_COUNT": "8",
        "HEADRACE_EVENTS__PREFIX": "ours",
    }
    events = loaded(**variables).settings.events
    assert (events.prefix, events.partitions) == ("ours", 8)


def test_an_empty_name_is_as_good_as_none() -> None:
    given = loaded(
        DP__EVENTS__KAFKA__ENDPOINT="", DP__STREAMS__S3__ENDPOINT="", DP__EVENTS__REDIS__ENDPOINT=""
    )
    assert given == loaded()


@pytest.mark.parametrize(
    ("variable", "text", "why"),
    [
        ("DP__EVENTS__LOST_TASKS_AFTER_MINUTES", "soon", "soon"),
        ("DP__EVENTS__IGNORE_TOPIC_MISMATCH", "yes", "allowed: true, false"),
        ("DP__EVENTS__SOURCES", "- a\n- b\n", "sources:"),
        ("DP__EVENTS__TOPICS", "a: [", "expected"),
        ("DP__EVENTS__GLOBAL_PARTITION_COUNT", "0", "greater than 0"),
        ("DP__STREAMS__BACKEND", "azure", "folder"),
        ("BED__LOG_LEVEL", "LOUD", "WARN"),
    ],
)
def test_a_value_that_cannot_be_translated_is_refused_with_its_name(
    variable: str, text: str, why: str
) -> None:
    with pytest.raises(SettingError) as refused:
        loaded(**{variable: text})
    assert variable in str(refused.value)
    assert why in str(refused.value)


def test_what_means_nothing_is_said_in_one_line_each_and_stops_nothing(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (
        "DP__EVENTS__REDIS__ENDPOINT",
        "DP__LOG_PATH",
        "DP.no.such",
        "DP__STREAMS__LOCAL__PATH",
    ):
        monkeypatch.setenv(variable, "x")
    monkeypatch.setenv("DP__EVENTS__GLOBAL_PARTITION_COUNT", "2")
    told = headrace.plain("config", "show", "--json")
    rows = {row["name"]: row for row in told.json}
    assert rows["events.partitions"]["origin"] == "environment DP__EVENTS__GLOBAL_PARTITION_COUNT"
    lines = told.err.splitlines()
    assert len(lines) == 4
    for line, words in zip(sorted(lines), ("DP.no.such", "REDIS", "LOG_PATH", "LOCAL__PATH"), strict=True):
        assert words in line
    assert "there is no such setting" in told.err
    assert "no Redis is needed" in told.err


def test_rules_are_not_cleaned_up_where_they_are_also_asked_for() -> None:
    both = {f"DP__STREAMS__S3__ENABLE_AUTOMATIC_AGEOFF{name}": "true" for name in ("", "_CLEANUP")}
    assert value("streams.age_off", **both) == "on"


def test_secrets_under_the_other_names_are_never_shown(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP__STREAMS__S3__ENDPOINT", "s3:9000")
    monkeypatch.setenv("DP__STREAMS__S3__ACCESS_KEY", "me")
    monkeypatch.setenv("DP__STREAMS__S3__SECRET_KEY", "topsecret")
    monkeypatch.setenv("DP__STREAMS__AES_KEY", "topsecret of 24 bytes ok")
    for options in ((), ("--json",)):
        told = headrace.plain("config", "show", *options)
        assert "topsecret" not in told.text + told.err
