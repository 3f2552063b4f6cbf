"""Names and settings of topics, by Kafka's rules."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from pipeline import limits
from pipeline.errors import BadInput, Conflict
from pipeline.log.port import TopicSpec

_NAME = re.compile(rf"[a-zA-Z0-9._-]{{1,{limits.LOG_TOPIC_NAME_MAX}}}")
_DAY_MS = 24 * 3600 * 1000


class TopicConfig(msgspec.Struct, frozen=True):
    """The settings of a topic that the embedded log acts on; -1 means without limit.

    Other settings Kafka knows are kept as they are and mean nothing here.
    """

    compact: bool
    delete: bool
    retention_ms: int
    retention_bytes: int
    segment_bytes: int
    delete_retention_ms: int
    min_dirty_ratio: float


def check_spec(spec: TopicSpec) -> None:
    """Refuse a topic that Kafka would refuse.

    Raises:
        BadInput: Name, number of partitions or a setting is not allowed.
    """
    tried = f"create topic {spec.name[:300]!r}"
    if not _NAME.fullmatch(spec.name) or spec.name in {".", ".."}:
        raise BadInput(
            tried, "the name is not allowed", "use letters, digits, '.', '_' and '-', at most 249 in all"
        )
    if not 1 <= spec.partitions <= limits.LOG_PARTITIONS_MAX:
        raise BadInput(
            tried,
            f"{spec.partitions} partitions are not allowed",
            f"use 1 to {limits.LOG_PARTITIONS_MAX}",
        )
    parse_config(spec.name, spec.config)


def differs(spec: TopicSpec, there: TopicSpec) -> bool:
    """Tell whether altering a topic to its spec would change it.

    Raises:
        Conflict: It has more partitions, which no log takes away.
    """
    if spec.partitions < there.partitions:
        raise Conflict(
            f"alter topic {spec.name}",
            f"it has {there.partitions} partitions and is to have {spec.partitions}",
            "partitions cannot be taken away; ask for as many as there are",
        )
    return spec.partitions > there.partitions or not spec.config.items() <= there.config.items()


def parse_config(topic: str, config: Mapping[str, str]) -> TopicConfig:
    """Return the settings in their own types; what is not given has Kafka's default, but keeps for ever.

    Raises:
        BadInput: A value is not a number or not a known policy.
    """
    policies = {part.strip() for part in config.get("cleanup.policy", "delete").split(",")}
    if not policies <= {"compact", "delete"}:
        raise BadInput(
            f"create topic {topic!r}",
            f"cleanup.policy = {config['cleanup.policy']!r}",
            "allowed: delete, compact, or both with a comma",
        )
    compact = "compact" in policies
    segment_bytes = limits.LOG_COMPACT_SEGMENT_BYTES if compact else limits.LOG_SEGMENT_BYTES
    return TopicConfig(
        compact=compact,
        delete="delete" in policies,
        retention_ms=_integer(topic, config, "retention.ms", -1),
        retention_bytes=_integer(topic, config, "retention.bytes", -1),
        segment_bytes=_integer(topic, config, "segment.bytes", segment_bytes),
        delete_retention_ms=_integer(topic, config, "delete.retention.ms", _DAY_MS),
        min_dirty_ratio=_ratio(topic, config, "min.cleanable.dirty.ratio", 0.5),
    )


def _integer(topic: str, config: Mapping[str, str], name: str, default: int) -> int:
    text = config.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"create topic {topic!r}", f"{name} = {text!r}", "use a whole number") from None


def _ratio(topic: str, config: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(config.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadInput(f"create topic {topic!r}", f"{name} = {config[name]!r}", "use a number from 0 to 1")
    return value
