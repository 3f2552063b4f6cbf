"""The plugin event: a plugin registers. Contract: dispatcher section 4.4.

`PluginFeature.desc` is always written, because the strict Python model requires it.
"""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.parts import Author
from pipeline.events.shape import Part, UInt32, always, always_text, optional_map


class PluginFeature(Part, frozen=True):
    """A feature the plugin may produce."""

    name: str = always_text()
    type: str = always_text()
    desc: str = always_text()
    tags: tuple[str, ...] = ()


class PluginEntity(Part, frozen=True):
    """What a plugin says about itself. Values of `config` are texts holding JSON."""

    name: str = always_text()
    version: str = ""
    category: str = ""
    contact: str = ""
    description: str = ""
    features: tuple[PluginFeature, ...] = ()
    security: str = ""
    config: dict[str, str] = optional_map()


class PluginEvent(Part, frozen=True):
    """A plugin of this name and version exists."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    entity: PluginEntity = always(PluginEntity)
