"""The topics a restore writes to: found, checked and, where missing, made before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline import limits
from pipeline.archive.restore.plan import Plan
from pipeline.archive.restore.records import BATCH_OVERHEAD_BYTES, Target
from pipeline.archive.restore.report import ORIGINAL, Options
from pipeline.archive.restore.selection import UNPLACED, Lane, known_partitions
from pipeline.archive.source.policy import OVERSIZED
from pipeline.clock import Clock
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Conflict
from pipeline.log.port import Log, TopicPartition, TopicSpec
from pipeline.log.topic_config import check_spec

KAFKA_DEFAULT_MAX_BYTES = 1_048_588
"""What a topic of Kafka takes when max.message.bytes is not set on it and brokers keep their default."""

KAFKA_DEFAULT_KEPT_MS = 7 * 24 * 3600 * 1000
"""How long Kafka keeps messages when neither topic nor brokers say otherwise."""
_DAY_MS = 24 * 3600 * 1000
_KEPT_FOR_EVER = {"retention.ms": "-1"}


class Topics(NamedTuple):
    """Where the messages of each topic of the archive go, and what has to be made for that."""

    targets: dict[str, Target]
    missing: list[TopicSpec]
    warnings: list[str]


async def plan_topics(
    database: Database, destination: Log, plan: Plan, options: Options, clock: Clock
) -> Topics:
    """Find the topics a restore writes to and check that they can take it; changes nothing.

    Raises:
        BadInput: A name is no topic's. Conflict: A topic cannot take it: too few partitions, or it gives
            records a time of its own. Unavailable: The destination does not answer.
    """
    names = {topic: _name(topic, options) for topic in plan.topics()}
    there = await destination.describe_topics(set(names.values()))
    missing = []
    for name in sorted(set(names.values()) - set(there)):
        partitions = [await known_partitions(database, topic) for topic in names if names[topic] == name]
        missing.append(TopicSpec(name, max(partitions), options.replicas, _KEPT_FOR_EVER))
    for spec in missing:
        check_spec(spec)
    if options.partition == "keep":
        _check_partitions(plan, names, there)
    _check_times(there.values())
    specs = {**there, **{spec.name: spec for spec in missing}}
    targets = {topic: _target(specs[name], made=name not in there) for topic, name in names.items()}
    return Topics(targets, missing, _warnings(plan, names, there, clock))


def _name(topic: str, options: Options) -> str:
    if not options.dest_topic:
        raise BadInput("choose a topic to restore to", "the pattern is empty", f"use {ORIGINAL} or a name")
    return options.dest_topic.replace(ORIGINAL, topic.removesuffix(OVERSIZED))


def _check_partitions(plan: Plan, names: Mapping[str, str], there: Mapping[str, TopicSpec]) -> None:
    needed: dict[str, int] = {}
    for lane in plan.lanes():
        name = names[lane.topic]
        needed[name] = max(needed.get(name, 1), lane.partition + 1)
    short = [
        f"{name} has {there[name].partitions} of {count}"
        for name, count in sorted(needed.items())
        if name in there and there[name].partitions < count
    ]
    if short:
        raise Conflict(
            "restore every message to the partition it had",
            f"topics have too few partitions: {', '.join(short)}",
            "add partitions, choose other topics, or let the key choose the partition",
        )


def _check_times(specs: Collection[TopicSpec]) -> None:
    own = sorted(
        spec.name for spec in specs if spec.config.get("message.timestamp.type") == "LogAppendTime"
    )
    if own:
        raise Conflict(
            f"restore to {', '.join(own)}",
            "messages there get the time at which they are appended, not the one they had",
            "set message.timestamp.type to CreateTime, or choose other topics",
        )


def keeps_partition(lane: Lane, options: Options) -> bool:
    """Say whether all messages of a lane go to the partition with the number of theirs."""
    return options.partition == "keep" and lane.partition != UNPLACED


def places_of(
    lanes: Iterable[Lane], targets: Mapping[str, Target], options: Options
) -> list[TopicPartition]:
    """Name the partitions messages of some lanes may go to."""
    places: set[TopicPartition] = set()
    for lane in lanes:
        target = targets[lane.topic]
        kept = keeps_partition(lane, options)
        numbers = (lane.partition,) if kept else range(target.partitions)
        places.update(TopicPartition(target.name, number) for number in numbers)
    return sorted(places)


def _target(spec: TopicSpec, *, made: bool) -> Target:
    """Say what fits into a topic; in a log that keeps no replicas, an embedded one, as much as in any."""
    if made or _is_embedded(spec):
        allowed = limits.KAFKA_MESSAGE_MAX_BYTES
    else:
        allowed = int(spec.config.get("max.message.bytes", KAFKA_DEFAULT_MAX_BYTES))
    most = min(allowed, limits.RECORD_MAX_BYTES + BATCH_OVERHEAD_BYTES)
    return Target(spec.name, spec.partitions, most)


def _warnings(
    plan: Plan, names: Mapping[str, str], there: Mapping[str, TopicSpec], clock: Clock
) -> list[str]:
    """Name the topics that will remove soon what is old when it arrives."""
    oldest: dict[str, int] = {}
    for each in plan.selected():
        name = names[each.topic]
        oldest[name] = min(oldest.get(name, each.earliest_ms), each.earliest_ms)
    now_ms = int(clock.unix() * 1000)
    warnings = []
    for name, spec in sorted(there.items()):
        kept_ms = _kept_ms(spec)
        if "compact" in spec.config.get("cleanup.policy", ""):
            warnings.append(
                f"topic {name} is compacted: of messages with one key only the newest will stay"
            )
        elif 0 <= kept_ms < now_ms - oldest[name]:
            warnings.append(
                f"topic {name} keeps messages for {kept_ms // _DAY_MS} days by their own time, and some are"
                " older: they will be removed within minutes; set its retention.ms to -1"
            )
    return warnings


def _kept_ms(spec: TopicSpec) -> int:
    """Say how long a topic keeps messages, -1 for ever; of Kafka's brokers the default is assumed."""
    default = -1 if _is_embedded(spec) else KAFKA_DEFAULT_KEPT_MS
    return int(spec.config.get("retention.ms", default))


def _is_embedded(spec: TopicSpec) -> bool:
    return spec.replicas == 0


async def make_topics(destination: Log, missing: Sequence[TopicSpec]) -> list[str]:
    """Make the topics that are missing and return their names.

    They keep what they get for ever: the times of what is restored are old, and Kafka's default would
    remove it within minutes. Raises `Unavailable`.
    """
    return sorted(await destination.create_topics(missing)) if missing else []
