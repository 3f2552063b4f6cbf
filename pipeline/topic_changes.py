"""What separates the topics there are from those the settings ask for, and doing it.

Missing topics are created; topics with at most the partitions asked for, and as many replicas, get the
configuration and the partitions they lack; the others stay as they are, with a reason. Equal topics are not
touched. Contract: dispatcher section 7.6; what differs from it is said in docs/operating.md.

The topics agent `track` reads and the changelogs of its tables are tied: partition n of a table holds the
keys of partition n of its topics, and Faust gives both to one worker only where the counts are equal. Keys
move to other partitions when the count grows, rows do not; so they grow together, and only before their
first record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from pipeline.errors import SettingError
from pipeline.events.topics import TABLE_TOPICS, TopicPlan, system_topic
from pipeline.hub.changelogs import TABLES, changelog_topic
from pipeline.log.port import Log, TopicPartition, TopicSpec

_log = structlog.get_logger(__name__)

_TIED = (
    "tables are derived from it, and their rows would not follow their keys to other partitions; "
    "docs/operating.md says how to make it anew with more"
)


class Change(msgspec.Struct, frozen=True):
    """A topic that is not as the settings ask.

    `spec` is what it will be, `there` what it is (None: missing). `reason` says why something that is asked
    for is not done, and is empty when all is.
    """

    action: Literal["create", "alter", "skip"]
    spec: TopicSpec
    there: TopicSpec | None = None
    reason: str = ""

    @property
    def config(self) -> dict[str, tuple[str, str]]:
        """What changes in the configuration: name to value now (empty: the default) and then."""
        now = self.there.config if self.there else {}
        return {
            name: (now.get(name, ""), value)
            for name, value in sorted(self.spec.config.items())
            if now.get(name) != value
        }

    @property
    def summary(self) -> str:
        """What happens to it, for a line: ``partitions 1 → 4, retention.ms 1000 → -1``; empty: nothing."""
        if self.action == "skip":
            return ""
        if self.there is None:
            return f"{self.spec.partitions} partitions"
        parts = [f"{name} {now or '(default)'} → {then}" for name, (now, then) in self.config.items()]
        if self.spec.partitions != self.there.partitions:
            parts.insert(0, f"partitions {self.there.partitions} → {self.spec.partitions}")
        return ", ".join(parts)


class Tied(NamedTuple):
    """Topics that must have one number of partitions; `used` when one of them ever held a record."""

    names: frozenset[str]
    used: bool


async def find_changes(log: Log, plan: TopicPlan) -> list[Change]:
    """Compare the topics of a plan with those of an open log. Raises `Unavailable`."""
    changelogs = [changelog_topic(plan.prefix, table) for table in TABLES]
    tied = {system_topic(plan.prefix, name) for name in TABLE_TOPICS} | set(changelogs)
    there = await log.describe_topics([*(spec.name for spec in plan.specs), *changelogs])
    places = [
        TopicPartition(name, n) for name in tied & there.keys() for n in range(there[name].partitions)
    ]
    used = any(bounds.end for bounds in (await log.bounds(places)).values())
    return compare(plan.specs, there, Tied(frozenset(tied), used))


def compare(wanted: Sequence[TopicSpec], there: Mapping[str, TopicSpec], tied: Tied) -> list[Change]:
    """Return the changes, changelogs before the topics that feed their tables."""
    count = _tied_count(wanted, there, tied)
    planned = {spec.name for spec in wanted}
    changelogs = [replace(there[name], config={}) for name in sorted(tied.names - planned) if name in there]
    found = []
    for spec in [*changelogs, *wanted]:
        now = there.get(spec.name)
        change = _tied_change(spec, now, count, tied) if spec.name in tied.names else _change(spec, now)
        if change.reason or change.summary:
            found.append(change)
    return found


def _tied_count(wanted: Sequence[TopicSpec], there: Mapping[str, TopicSpec], tied: Tied) -> int:
    """Return how many partitions the tied topics are to have."""
    have = [there[name].partitions for name in tied.names & there.keys()]
    if have and tied.used:
        return max(have)
    return max([*have, *(spec.partitions for spec in wanted if spec.name in tied.names)], default=1)


def _tied_change(spec: TopicSpec, now: TopicSpec | None, count: int, tied: Tied) -> Change:
    """Compare a topic that is new like the others, grows with the others, or does not grow any more."""
    if now is None or (now.partitions < count and not tied.used):
        return _change(replace(spec, partitions=count), now)
    if now.partitions >= spec.partitions:
        return _change(spec, now)
    change = _change(replace(spec, partitions=now.partitions), now)
    reason = (
        change.reason or f"it has {now.partitions} partitions, {spec.partitions} are asked for: {_TIED}"
    )
    return replace(change, action=change.action if change.summary else "skip", reason=reason)


def _change(spec: TopicSpec, now: TopicSpec | None) -> Change:
    if now is None:
        return Change("create", spec)
    reason = ""
    if now.partitions > spec.partitions:
        reason = f"it has {now.partitions} partitions, {spec.partitions} are asked for"
    elif now.replicas not in {0, spec.replicas}:
        reason = f"it has {now.replicas} replicas, {spec.replicas} are asked for"
    return Change("skip" if reason else "alter", spec, now, reason)


async def apply_changes(log: Log, changes: Sequence[Change]) -> None:
    """Make the changes; doing it again changes nothing.

    Raises:
        BadInput: The log refuses one; those before it may have been made.
        Unavailable: The log does not answer.
    """
    # A crash between the two, or in one of them, leaves what the next start finds and finishes.
    await log.create_topics([change.spec for change in changes if change.action == "create"])
    await log.create_topics([change.spec for change in changes if change.action == "alter"], alter=True)


async def prepare_topics(log: Log, plan: TopicPlan, *, ignore_mismatch: bool) -> list[Change]:
    """Bring the topics to their plan at start, saying what is changed and what cannot be; return that.

    Raises:
        SettingError: A topic cannot be brought to its plan and that may not be ignored; nothing is changed.
        Unavailable: The log does not answer.
    """
    changes = await find_changes(log, plan)
    for change in changes:
        if change.reason and not ignore_mismatch:
            raise SettingError(
                f"bring topic {change.spec.name} to the settings",
                change.reason,
                "ask for what it has (events.topics_file), or set events.ignore_topic_mismatch",
            )
    await apply_changes(log, changes)
    _report(changes, new=len(changes) >= len(plan.specs))
    return changes


def _report(changes: Sequence[Change], *, new: bool) -> None:
    """Say what was changed; that a new installation gets all its topics is no news."""
    created = [change.spec.name for change in changes if change.action == "create"]
    if created and not new:
        _log.info("topics created", names=created)
    for change in changes:
        if change.action == "alter":
            _log.info("topic altered", topic=change.spec.name, changes=change.summary)
        if change.reason:
            _log.warning("topic is not as the settings ask", topic=change.spec.name, reason=change.reason)
