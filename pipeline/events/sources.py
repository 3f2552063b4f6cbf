"""Sources: the named feeds events come from, as operators define them.

Contract: dispatcher section 7.3, metastore section 20.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from pipeline.errors import SettingError
from pipeline.events.expiry import expiry_seconds
from pipeline.events.settings_text import config_text, convert, load_yaml
from pipeline.events.topic_names import check_source_name

SETTING = "events.sources"
NEVER_MS = -1

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class ReferenceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value people give with a submission to this source."""

    name: str
    required: bool = False
    description: str = ""
    highlight: bool = False
    priority: bool = True


class KafkaOverrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a source's topics differ from the defaults; 0 means the global setting."""

    numpartitions: Count = 0
    replicationfactor: Count = 0
    config: dict[str, Any] | None = None


class SourceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One source. `expire_events_after` is text such as ``2 months``; ``0`` is never."""

    description: str = ""
    icon_class: str = "bug"
    references: tuple[ReferenceDefinition, ...] = ()
    partition_unit: str = "year"
    expire_events_after: str | int = "0"
    elastic: dict[str, Any] = {}
    kafka: KafkaOverrides = msgspec.field(default_factory=KafkaOverrides)
    exclude_from_backup: bool = False
    name: str = ""
    """The key it is defined under; filled in on reading."""

    @property
    def expiry_seconds(self) -> int | None:
        """How long its events are kept; None is for ever."""
        return expiry_seconds(str(self.expire_events_after))

    @property
    def expire_events_ms(self) -> int:
        """How long its events are kept in milliseconds; `NEVER_MS` is for ever."""
        seconds = self.expiry_seconds
        return NEVER_MS if seconds is None else seconds * 1000

    @property
    def kafka_config_full(self) -> dict[str, str]:
        """The configuration of its topics: the expiry decides policy and retention, whatever is given."""
        config = config_text(f"{SETTING}.{self.name}.kafka.config", self.kafka.config or {})
        config["cleanup.policy"] = "compact" if self.expiry_seconds is None else "delete"
        config["retention.ms"] = str(self.expire_events_ms)
        return config


def parse_sources(text: str, prefix: str) -> dict[str, SourceDefinition]:
    """Read the sources YAML; empty text means no sources.

    Raises:
        SettingError: It cannot be read, or a source is wrong; says which and why.
    """
    document = load_yaml(SETTING, text)
    if document is None:
        return {}
    if not isinstance(document, dict) or set(document) != {"sources"}:
        raise SettingError(f"read the setting {SETTING}", "", "put everything under one key, sources:")
    return sources_from(document["sources"] or {}, prefix)


def sources_from(definitions: Any, prefix: str) -> dict[str, SourceDefinition]:
    """Read sources from plain data: name → definition.

    Raises:
        SettingError: A source is wrong; says which and why.
    """
    if not isinstance(definitions, Mapping):
        raise SettingError(f"read the setting {SETTING}", "it is not a mapping from names to definitions")
    return {str(name): _source(str(name), value, prefix) for name, value in definitions.items()}


def _source(name: str, value: Any, prefix: str) -> SourceDefinition:
    check_source_name(prefix, name)
    given = (
        {key: part for key, part in value.items() if part is not None}
        if isinstance(value, Mapping)
        else value
    )
    source = convert(f"{SETTING}.{name}", {} if given is None else given, SourceDefinition)
    source = msgspec.structs.replace(source, name=name)
    try:
        source.kafka_config_full  # noqa: B018 - reading it checks expiry and configuration
    except SettingError as error:
        raise SettingError(
            f"read the setting {SETTING}.{name}", f"{error.tried}: {error.why}", error.todo
        ) from error
    return source
