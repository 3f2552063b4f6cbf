"""Which topics there are to be, with what configuration; and, re-exported, their names.

Three layers, each over the one before: the built-in table, the sources, the topics YAML. An entry's
non-zero numbers win; configuration keys it gives win, and those it does not give keep the value of the
layer below.
The reference instead resets a topic to compaction when the topics YAML names it without ``config``; we do
not, because naming a topic to change its partitions must not change how long it is kept.
Contract: dispatcher sections 7.2 to 7.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.errors import SettingError
from pipeline.events.names import ACTIONS
from pipeline.events.settings_text import config_text, convert, load_yaml
from pipeline.events.sources import Count, SourceDefinition, parse_sources
from pipeline.events.topic_names import (
    ERROR,
    EXPEDITE,
    HUB,
    PARKED,
    REPLAY,
    SEEN,
    TASK,
    BinaryTopic,
    SystemTopic,
    binary_pattern,
    binary_topic,
    check_prefix,
    check_topic,
    model_of_topic,
    parse_topic,
    system_topic,
    topic_of,
)
from pipeline.limits import HUB_SHARES
from pipeline.log.port import TopicSpec

SETTING = "events.topics"

_HOUR_MS = 60 * 60 * 1000
_DAY_MS = 24 * _HOUR_MS
_SEGMENT = {"segment.bytes": "1073741824"}
COMPACT: Mapping[str, str] = {"retention.ms": "-1", **_SEGMENT, "cleanup.policy": "compact"}
"""The base configuration: the last record of each key is kept for ever."""


_SHORT = {"segment.bytes": "67108864"}
"""For topics that are read from their start: what is over goes a segment at a time."""


def _kept(retention_ms: int) -> dict[str, str]:
    return {"retention.ms": str(retention_ms), **_SEGMENT, "cleanup.policy": "delete"}


SYSTEM_TOPICS: Mapping[str, Mapping[str, str]] = {
    "insert": COMPACT,
    "delete": COMPACT,
    EXPEDITE: _kept(7 * _DAY_MS),
    ERROR: _kept(7 * _DAY_MS),
    "plugin": _kept(7 * _DAY_MS),
    "status": _kept(_DAY_MS),
    "download": _kept(12 * _HOUR_MS),
    "retrohunt": COMPACT,
    "report": _kept(28 * _DAY_MS),
    "scrape": _kept(28 * _DAY_MS),
    TASK: _kept(7 * _DAY_MS),
    PARKED: COMPACT,
    HUB: COMPACT,
    SEEN: _kept(7 * _DAY_MS) | _SHORT,
    REPLAY: _kept(_HOUR_MS // 2) | _SHORT,
}
"""System topics and their configuration. The last five are ours."""
_PARTITIONS: Mapping[str, int] = {HUB: HUB_SHARES}
"""System topics whose number of partitions means something."""

TABLE_TOPICS = (TASK, "status", "plugin", PARKED)
"""System topics that tables are derived from. They have one number of partitions, the highest asked for."""


class TopicEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the topics YAML; `topic` is without ``azul.<prefix>.``."""

    topic: str
    numpartitions: Count = 0
    replicationfactor: Count = 0
    replicaassignment: Any = None
    config: dict[str, Any] | None = None


class TopicPlan(msgspec.Struct, frozen=True):
    """The sources by name, and every topic as it is to be."""

    prefix: str
    sources: Mapping[str, SourceDefinition]
    specs: tuple[TopicSpec, ...]


def plan_from_text(
    prefix: str, *, partitions: int, replicas: int, sources: str = "", topics: str = ""
) -> TopicPlan:
    """Plan from the two YAML texts; see `plan`.

    Raises:
        SettingError: A text, the prefix, a source or a topic is wrong; says which and why.
    """
    check_prefix(prefix)
    return plan(
        prefix,
        partitions=partitions,
        replicas=replicas,
        sources=parse_sources(sources, prefix),
        topics=parse_topics(topics),
    )


def plan(
    prefix: str,
    *,
    partitions: int,
    replicas: int,
    sources: Mapping[str, SourceDefinition],
    topics: Sequence[TopicEntry] = (),
    kept_seconds: Mapping[str, float] = MappingProxyType({}),
) -> TopicPlan:
    """Lay the three layers over each other.

    Args:
        prefix: Comes second in every topic name.
        partitions: For every topic that does not say otherwise.
        replicas: Likewise.
        sources: Each brings one topic per action.
        topics: Overrides and additions, by name.
        kept_seconds: How long some system topics are kept, where that is a setting of its own.

    Raises:
        SettingError: The prefix or a topic name is wrong.
    """
    check_prefix(prefix)
    table = {
        (name := system_topic(prefix, rest)): TopicSpec(
            name,
            _PARTITIONS.get(rest, partitions),
            replicas,
            {**config, **_retention(kept_seconds.get(rest))},
        )
        for rest, config in SYSTEM_TOPICS.items()
    }
    for source in sources.values():
        for action in ACTIONS:
            name = binary_topic(prefix, source.name, action)
            kafka = source.kafka
            over = TopicSpec(name, kafka.numpartitions, kafka.replicationfactor, source.kafka_config_full)
            table[name] = _over(over, table.get(name, TopicSpec(name, partitions, replicas)))
    for entry in topics:
        check_topic(prefix, entry.topic)
        name = f"azul.{prefix}.{entry.topic}"
        config = config_text(f"{SETTING} {entry.topic}", entry.config or {})
        over = TopicSpec(name, entry.numpartitions, entry.replicationfactor, config)
        new = TopicSpec(name, partitions, replicas, {} if config else COMPACT)
        table[name] = _over(over, table.get(name, new))
    tied = [system_topic(prefix, name) for name in TABLE_TOPICS]
    highest = max(table[name].partitions for name in tied)
    table.update({name: replace(table[name], partitions=highest) for name in tied})
    return TopicPlan(prefix, dict(sources), tuple(table.values()))


def _retention(seconds: float | None) -> Mapping[str, str]:
    return {} if seconds is None else {"retention.ms": str(round(seconds * 1000))}


def _over(upper: TopicSpec, lower: TopicSpec) -> TopicSpec:
    return TopicSpec(
        lower.name,
        upper.partitions or lower.partitions,
        upper.replicas or lower.replicas,
        {**lower.config, **upper.config},
    )


def parse_topics(text: str) -> list[TopicEntry]:
    """Read the topics YAML; empty text means no overrides.

    Raises:
        SettingError: It cannot be read, or an entry is wrong; says which and why.
    """
    document = load_yaml(SETTING, text)
    return [] if document is None else topics_from(document)


def topics_from(document: Any) -> list[TopicEntry]:
    """Read overrides of topics from plain data, a list of entries.

    Raises:
        SettingError: An entry is wrong; says which and why.
    """
    entries = convert(SETTING, document, list[TopicEntry])
    for entry in entries:
        if entry.replicaassignment:
            raise SettingError(
                f"read the setting {SETTING} for {entry.topic}",
                "replicaassignment is not supported",
                "give a replicationfactor and let Kafka place the replicas",
            )
        config_text(f"{SETTING} {entry.topic}", entry.config or {})
    return entries


__all__ = [
    "COMPACT",
    "ERROR",
    "EXPEDITE",
    "HUB",
    "PARKED",
    "REPLAY",
    "SEEN",
    "SYSTEM_TOPICS",
    "TABLE_TOPICS",
    "TASK",
    "BinaryTopic",
    "SystemTopic",
    "TopicEntry",
    "TopicPlan",
    "binary_pattern",
    "binary_topic",
    "model_of_topic",
    "parse_topic",
    "parse_topics",
    "plan",
    "plan_from_text",
    "system_topic",
    "topic_of",
    "topics_from",
]
