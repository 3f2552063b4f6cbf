"""Which topics are archived, who may read them, and whose text is searched (archive contract, section 3).

A `TopicPolicy` answers from what it last learned; `refresh` learns anew.
`pipeline.archive.source.policies` makes the one the settings name. A topic the policy does not know is
neither archived nor public.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec
import structlog

from pipeline import limits_archive, metrics_archive
from pipeline.clock import Clock
from pipeline.errors import HeadraceError

log = structlog.get_logger(__name__)

OVERSIZED = "+oversized"
"""Ends the topic of messages that were too large for their topic and came by upload (section 13)."""


class TopicRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the policy says about one topic, in the words of upstream's list."""

    name: str
    archivable: bool = False
    publicly_readable: bool = False
    index_archived_text: bool = False
    owning_group: str = ""


class TopicPolicy(Protocol):
    """What is known about topics."""

    async def refresh(self) -> None:
        """Learn the rules anew; on failure the last ones stay.

        Raises:
            Unavailable: Whoever has the rules does not answer. SettingError: They cannot be read.
        """

    async def fresh_rule(self, topic: str, timestamp_ms: int) -> TopicRule:
        """Give the rule for a message of a topic, from an answer that is not too old for it.

        Learns anew when the last answer is older than its time, or when the topic is unknown and the
        message is newer than the answer. When that fails the last answer counts; it never raises.
        """

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic, one without rights when it is unknown.

        The suffix of oversized messages is taken off first.
        """

    def named(self) -> Mapping[str, TopicRule] | None:
        """Give the rules by the name or glob they are for; None when every topic has the same one."""


class AllTopics:
    """The policy `all`: every topic is archived, public, and its text is not searched."""

    async def refresh(self) -> None:
        """Do nothing: there is nothing to learn."""

    async def fresh_rule(self, topic: str, timestamp_ms: int) -> TopicRule:
        """Give the rule of a topic."""
        del timestamp_ms
        return self.rule(topic)

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic."""
        return TopicRule(topic.removesuffix(OVERSIZED), archivable=True, publicly_readable=True)

    def named(self) -> None:
        """Say that every topic has the same rule."""
        return


class LearnedPolicy(ABC):
    """A policy somebody else has: the last good answer counts until there is a better one.

    Args:
        clock: Tells how old the answer is.
        kept_seconds: How long an answer is good enough for `fresh_rule`.
    """

    def __init__(self, clock: Clock, kept_seconds: float) -> None:
        self._clock = clock
        self._kept_seconds = kept_seconds
        self._rules: dict[str, TopicRule] = {}
        self._globs: list[TopicRule] = []
        self._answered_ms = float("-inf")
        self._tried = float("-inf")
        self._asking = asyncio.Lock()

    @abstractmethod
    async def ask(self) -> Iterable[TopicRule]:
        """Ask for all rules; raises `HeadraceError`."""

    async def refresh(self) -> None:
        """Learn the rules anew; on failure, which is counted, the last ones stay."""
        async with self._asking:
            await self._refresh()

    async def _refresh(self) -> None:
        self._tried = self._clock.monotonic()
        asked_ms = self._clock.unix() * 1000
        try:
            rules = {rule.name: rule for rule in await self.ask()}
        except HeadraceError:
            metrics_archive.POLICY_FAILURES.inc()
            raise
        self._rules = rules
        self._globs = [rule for name, rule in rules.items() if is_glob(name)]
        self._answered_ms = asked_ms

    async def fresh_rule(self, topic: str, timestamp_ms: int) -> TopicRule:
        """Give the rule for a message of a topic, learning anew when the last answer is too old for it."""
        if self._worth_asking(topic, timestamp_ms):
            async with self._asking:
                # Whoever held the lock may have learned it.
                if self._worth_asking(topic, timestamp_ms):
                    try:
                        await self._refresh()
                    except HeadraceError as error:
                        log.warning("the last topic policy stays", reason=str(error))
        return self.rule(topic)

    def _worth_asking(self, topic: str, timestamp_ms: int) -> bool:
        # Times of messages are what their senders say: without a pause, one from the future asks each time.
        if self._clock.monotonic() - self._tried < limits_archive.POLICY_PAUSE_SECONDS:
            return False
        old = self._clock.unix() * 1000 - self._answered_ms > self._kept_seconds * 1000
        return old or (self._find(topic) is None and timestamp_ms > self._answered_ms)

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic: its own, else that of the first glob it matches, else none."""
        return self._find(topic) or TopicRule(topic.removesuffix(OVERSIZED))

    def _find(self, topic: str) -> TopicRule | None:
        name = topic.removesuffix(OVERSIZED)
        own = self._rules.get(name)
        if own is not None:
            return own
        glob = next((rule for rule in self._globs if fnmatchcase(name, rule.name)), None)
        return None if glob is None else msgspec.structs.replace(glob, name=name)

    def named(self) -> Mapping[str, TopicRule]:
        """Give the rules by the name or glob they are for."""
        return self._rules


def is_glob(name: str) -> bool:
    """Tell whether a name is a pattern; names of topics have none of these characters."""
    return any(character in name for character in "*?[")
