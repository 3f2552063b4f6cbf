"""Names of topics, and which event goes where.

``azul.<prefix>.system.<name>`` and ``azul.<prefix>.<source>.binary.<action>``. Source names hold no
dots, so a name can be taken apart again. Contract: dispatcher sections 7.1, 8 (topic choice),
11.1 (patterns).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.errors import NotFound, SettingError
from pipeline.events.binary import BinaryEvent
from pipeline.events.models import Event, Model, model_of
from pipeline.events.names import ACTIONS, MODELS

TOPIC_NAME_MAX_BYTES = 249
"""Longest topic name Kafka accepts."""

TASK = "task"
PARKED = "parked"
HUB = "hub"
SEEN = "seen"
REPLAY = "replay"
EXPEDITE = "expedite"
ERROR = "error"

_SYSTEM = "system"
_BINARY = "binary"
_LONGEST_TAIL = f".{_BINARY}.{max(ACTIONS, key=len)}"
_SOURCE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)


class BinaryTopic(NamedTuple):
    """What the name of a binary topic says."""

    source: str
    action: str


class SystemTopic(NamedTuple):
    """What the name of a system topic says."""

    name: str


def system_topic(prefix: str, name: str) -> str:
    """Name a system topic: for all non-binary events `name` is the model."""
    return f"azul.{prefix}.{_SYSTEM}.{name}"


def binary_topic(prefix: str, source: str, action: str) -> str:
    """Name the topic of a source's binary events of one action."""
    return f"azul.{prefix}.{source}.{_BINARY}.{action}"


def topic_of(prefix: str, event: Event) -> str:
    """Name the topic an event is to be written to. A binary event must be valid."""
    if not isinstance(event, BinaryEvent):
        return system_topic(prefix, model_of(event))
    if event.flags.expedite:
        return system_topic(prefix, EXPEDITE)
    if event.flags.retry:
        return system_topic(prefix, ERROR)
    return binary_topic(prefix, event.source.name, event.action)


def parse_topic(prefix: str, topic: str) -> BinaryTopic | SystemTopic | None:
    """Take a topic name apart; None when it is not one of this prefix."""
    start = f"azul.{prefix}."
    if not topic.startswith(start):
        return None
    match topic[len(start) :].split("."):
        case [system, name] if system == _SYSTEM and name:
            return SystemTopic(name)
        case [source, binary, action] if source and binary == _BINARY and action in ACTIONS:
            return BinaryTopic(source, action)
        case _:
            return None


def model_of_topic(topic: str) -> Model:
    """Return the model of the events a topic holds, whatever its prefix.

    Raises:
        NotFound: It holds no events of the seven models.
    """
    parts = topic.split(".")
    if len(parts) >= len(("azul", "prefix", _SYSTEM, "name")) and parts[0] == "azul":
        if parts[-2] == _BINARY and parts[-1] in ACTIONS and parts[-3] != _SYSTEM:
            return "binary"
        if parts[-2] == _SYSTEM and parts[-1] in (EXPEDITE, ERROR):
            return "binary"
        for model in MODELS:
            if parts[-2] == _SYSTEM and parts[-1] == model and model != _BINARY:
                return model
    raise NotFound(f"find the event model of topic {topic!r}", "it holds no events")


def binary_pattern(
    prefix: str, sources: Iterable[str] = (), actions: Iterable[str] = ()
) -> re.Pattern[str]:
    """Match the binary topics of some sources and actions; none given means all."""
    wanted_sources = "|".join(re.escape(source) for source in sources)
    wanted_actions = "|".join(re.escape(action) for action in actions)
    source = f"(?:{wanted_sources})" if wanted_sources else r"[^.]+"
    action = f"(?:{wanted_actions})" if wanted_actions else r"[^.]+"
    return re.compile(rf"^azul\.{re.escape(prefix)}\.{source}\.{_BINARY}\.{action}\Z")


def check_prefix(prefix: str) -> None:
    """Accept a topic prefix that leaves names legal.

    Raises:
        SettingError: It does not.
    """
    if not _DOTTED.fullmatch(prefix):
        raise SettingError(
            f"use the topic prefix {prefix!r}",
            "topic names cannot hold it",
            "use letters, digits, - and _, with dots between",
        )


def check_topic(prefix: str, rest: str) -> None:
    """Accept the part of a topic name after the prefix.

    Raises:
        SettingError: Kafka would refuse the name.
    """
    tried = f"use the topic name {rest[:TOPIC_NAME_MAX_BYTES]!r}"
    if not _DOTTED.fullmatch(rest):
        raise SettingError(tried, "it is not legal", "use letters, digits, - and _, with dots between")
    length = len(f"azul.{prefix}.{rest}")
    if length > TOPIC_NAME_MAX_BYTES:
        why = f"with its prefix it has {length} characters, {TOPIC_NAME_MAX_BYTES} are allowed"
        raise SettingError(tried, why, "choose a shorter name")


def check_source_name(prefix: str, name: str) -> None:
    """Accept a source name whose five topics have legal names that can be taken apart again.

    Raises:
        SettingError: They would not.
    """
    tried = f"use the source name {name!r}"
    if not _SOURCE.fullmatch(name):
        raise SettingError(tried, "topic names cannot hold it", "use letters, digits, - and _, no dots")
    if name == _SYSTEM:
        raise SettingError(tried, "the system topics have that name", "choose another name")
    check_topic(prefix, f"{name}{_LONGEST_TAIL}")
