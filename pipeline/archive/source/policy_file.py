"""The topic policy in a file: TOML tables ``[[topic]]``, and ``[[user]]`` for who may read what.

A file is taken as a whole or not at all. docs/archive.md shows one.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline import limits_archive
from pipeline.archive.source.policy import LearnedPolicy, TopicRule
from pipeline.clock import Clock
from pipeline.errors import SettingError

ALLOWED = (
    "allowed in [[topic]]: name (text, may be a glob), archivable, publicly_readable, index_archived_text "
    "(true or false), owning_group (text)"
)


class PolicyFile(NamedTuple):
    """What stands in a policy file. Users are as written: whoever reads them checks them."""

    topics: list[TopicRule]
    users: list[dict[str, Any]]


class _Topic(TopicRule, frozen=True, forbid_unknown_fields=True):
    """A table ``[[topic]]``."""


def read(path: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        SettingError: It cannot be read, is too large, is no TOML, or a table is not as it must be; says the
            file, the topic and what is allowed.
    """
    tried = f"read the topic policy {path}"
    try:
        with path.open("rb") as file:
            data = file.read(limits_archive.POLICY_MAX_BYTES + 1)
        content = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise SettingError(tried, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(tried, f"not TOML: {error}") from error
    if len(data) > limits_archive.POLICY_MAX_BYTES:
        raise SettingError(tried, f"it has more than {limits_archive.POLICY_MAX_BYTES} bytes")
    unknown = sorted(content.keys() - {"topic", "user"})
    if unknown:
        raise SettingError(tried, f"unknown key {unknown[0]!r}", "allowed: tables [[topic]] and [[user]]")
    topics = [_topic(tried, table) for table in _tables(tried, content, "topic")]
    for name, count in Counter(rule.name for rule in topics).items():
        if count > 1:
            raise SettingError(f"{tried}, topic {name!r}", "it is there more than once")
    return PolicyFile(topics, _tables(tried, content, "user"))


def _tables(tried: str, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingError(tried, f"{name!r} is no list of tables", f"write [[{name}]] before each of them")
    return tables


def _topic(tried: str, table: dict[str, Any]) -> TopicRule:
    try:
        found = msgspec.convert(table, _Topic)
    except msgspec.ValidationError as error:
        raise SettingError(f"{tried}, topic {table.get('name')!r}", str(error), ALLOWED) from None
    if not found.name:
        raise SettingError(f"{tried}, topic ''", "the name is empty", ALLOWED)
    return TopicRule(**msgspec.structs.asdict(found))


class FilePolicy(LearnedPolicy):
    """The rules in a file, read anew at each refresh.

    Args:
        path: The file.
        clock: Tells how old the answer is.
        kept_seconds: How long it is good enough.
    """

    def __init__(self, path: Path, clock: Clock, kept_seconds: float) -> None:
        super().__init__(clock, kept_seconds)
        self._path = path

    async def ask(self) -> Iterable[TopicRule]:
        """Read the file; raises `SettingError`."""
        return (await asyncio.to_thread(read, self._path)).topics
