"""Plugin events as documents: which plugins there are, one a name and version.

Contract: metastore section 3.5 (plugin).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from pipeline.events import times
from pipeline.events.plugin import PluginEvent
from pipeline.index import security
from pipeline.index.document_parts import author_fields, field_names, given, invalid, version_of
from pipeline.index.port import Document

_DOWNLOADER: Final = "is_processing_download_events"
"""The one key of a configuration that can be searched; it is true or false."""


def plugin_document(event: PluginEvent, default_security: str) -> Document:
    """Return the document of a plugin event.

    Raises:
        EventInvalid: It has no key, or a value of its configuration is not JSON.
    """
    if not event.kafka_key:
        raise invalid("a plugin event", "it has no key")
    label = security.combine((event.author.security, event.entity.security), default_security)
    body = {
        "model_version": event.model_version,
        "timestamp": times.normal(event.timestamp),
        "security": label,
        "encoded_security": security.encode(label),
        "author": author_fields(event.author, default_security),
        "entity": _entity(event),
    }
    return Document("plugin", event.kafka_key, body, version_of(event.timestamp))


def _entity(event: PluginEvent) -> dict[str, Any]:
    fields = given(event.entity)
    if event.entity.features:
        fields["features"] = [given(feature) for feature in event.entity.features]
    if event.entity.config:
        fields["config"] = field_names(_config(event))
    return fields


def _config(event: PluginEvent) -> dict[str, str]:
    what = f"the registration of plugin {event.entity.name!r}"
    for name, text in event.entity.config.items():
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise invalid(what, f"its setting {name!r} is not JSON: {error}") from error
        if name == _DOWNLOADER and not isinstance(value, bool):
            raise invalid(what, f"its setting {name!r} is neither true nor false")
    return event.entity.config
