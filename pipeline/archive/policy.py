"""Which topics are archived, who may read them, and whose text is searched (archive contract, section 3).

A `TopicPolicy` answers from what it last learned; `refresh` learns anew. `pipeline.archive.policies` makes
the one the settings name. A topic the policy does not know is neither archived nor public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

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

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic, one without rights when it is unknown.

        The suffix of oversized messages is taken off first.
        """

    def named(self) -> Mapping[str, TopicRule] | None:
        """Give the rules by topic; None when every topic has the same one."""


class AllTopics:
    """The policy `all`: every topic is archived, public, and its text is not searched."""

    async def refresh(self) -> None:
        """Do nothing: there is nothing to learn."""

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic."""
        return TopicRule(topic.removesuffix(OVERSIZED), archivable=True, publicly_readable=True)

    def named(self) -> None:
        """Say that every topic has the same rule."""
        return
