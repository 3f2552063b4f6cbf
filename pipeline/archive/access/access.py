"""Who may do what with the messages of a topic (archive contract, section 17.1).

Messages that are public may be read by everybody. Everything else needs a user with a right on the topic;
topics that end with the suffix of oversized messages have the rules of the topic without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

from pipeline.archive.access.users import User
from pipeline.archive.source.policy import OVERSIZED, TopicPolicy

Right = Literal["read", "write", "owner"]


def may(user: User, topic: str, right: Right, policy: TopicPolicy) -> bool:
    """Say whether a user has a right on a topic.

    Each right is given by globs. An owner, by a glob or by being in the group that owns the topic, has the
    other rights too; otherwise reading and writing do not follow from each other.
    """
    name = topic.removesuffix(OVERSIZED)
    if _any(user.owner, name) or _owns(user, name, policy):
        return True
    if right == "owner":
        return False
    return _any(user.read if right == "read" else user.write, name)


def readable(user: User | None, topics: Iterable[str], policy: TopicPolicy) -> frozenset[str]:
    """Return the topics of which a caller may read every message; somebody unknown only public ones."""
    if user is None:
        return frozenset()
    return frozenset(topic for topic in topics if may(user, topic, "read", policy))


def _owns(user: User, topic: str, policy: TopicPolicy) -> bool:
    if not user.groups:
        return False
    group = policy.rule(topic).owning_group
    return bool(group) and group in user.groups


def _any(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
