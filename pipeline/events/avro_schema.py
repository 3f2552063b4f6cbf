"""The Avro schemas of the seven models, version 6, from one table that names each record once.

Field order is part of the encoding. Versions 4 and 5 had one more field in three of the records, at a place
the contract does not give; what holds none of these was always written as it is today. Contract: dispatcher
section 6.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pipeline.events import models as m
from pipeline.events.models import Event
from pipeline.events.names import CURRENT
from pipeline.events.shape import Part
from pipeline.events.versions import OLDEST_STORED

STRING, LONG, BOOLEAN, DOUBLE, BYTES = "string", "long", "boolean", "double", "bytes"
TIME: Final = {"type": "long", "logicalType": "timestamp-micros"}
STRINGS: Final = {"type": "array", "items": "string"}
MAP: Final = {"type": "map", "values": "string"}
NAMESPACE: Final = "v6"


class Fixed(NamedTuple):
    """An unsigned 64-bit number, big-endian, as a fixed type of this name."""

    name: str


class Many(NamedTuple):
    """An array of a record."""

    record: str


Kind = str | dict[str, str] | Fixed | Many


class RecordSpec(NamedTuple):
    """A record: the struct it becomes, and its fields in order."""

    struct: type[Part]
    fields: tuple[tuple[str, Kind], ...]


_HEAD: tuple[tuple[str, Kind], ...] = (
    ("model_version", LONG),
    ("kafka_key", STRING),
    ("timestamp", TIME),
    ("author", "EventAuthor"),
)


def _texts(names: str) -> tuple[tuple[str, Kind], ...]:
    return tuple((name, STRING) for name in names.split())


RECORDS: Final[dict[str, RecordSpec]] = {
    "EventAuthor": RecordSpec(m.Author, _texts("name version category security")),
    "EventSourcePathNode": RecordSpec(
        m.PathNode,
        (
            ("author", "EventAuthor"),
            *_texts("action sha256"),
            ("relationship", MAP),
            ("timestamp", TIME),
            *_texts("file_format"),
            ("size", Fixed("source_size")),
            *_texts("filename language"),
        ),
    ),
    "EventSource": RecordSpec(
        m.Source,
        (
            ("name", STRING),
            ("references", MAP),
            ("security", STRING),
            ("path", Many("EventSourcePathNode")),
            ("timestamp", TIME),
            ("settings", MAP),
        ),
    ),
    "RetrohuntSource": RecordSpec(m.RetrohuntSource, (*_texts("submitter security"), ("timestamp", TIME))),
    "BinaryEntityFeature": RecordSpec(
        m.Feature,
        (
            *_texts("name value type label"),
            ("size", Fixed("feature_size")),
            ("offset", Fixed("datastream_offset")),
        ),
    ),
    "BinaryEntityDatastream": RecordSpec(
        m.Datastream,
        (
            ("identify_version", LONG),
            ("label", STRING),
            ("size", Fixed("datastream_size")),
            *_texts("sha512 sha256 sha1 md5 ssdeep tlsh mime magic file_format file_extension language"),
        ),
    ),
    "BinaryEntity": RecordSpec(
        m.BinaryEntity,
        (
            *_texts("sha256 sha512 sha1 md5 ssdeep tlsh"),
            ("size", Fixed("entity_size")),
            *_texts("mime magic file_format file_extension"),
            ("info", BYTES),
            ("features", Many("BinaryEntityFeature")),
            ("datastreams", Many("BinaryEntityDatastream")),
        ),
    ),
    "BinaryFlags": RecordSpec(
        m.BinaryFlags, (("bypass_cache", BOOLEAN), ("expedite", BOOLEAN), ("retry", BOOLEAN))
    ),
    "BinaryEvent": RecordSpec(
        m.BinaryEvent,
        (
            *_HEAD,
            ("source", "EventSource"),
            ("entity", "BinaryEntity"),
            *_texts("action dequeued"),
            ("retries", LONG),
            ("flags", "BinaryFlags"),
            ("track_source_references", STRING),
            ("track_links", STRINGS),
            ("track_authors", STRINGS),
        ),
    ),
    "DeleteEntitySubmission": RecordSpec(
        m.DeleteSubmission, (("track_source_references", STRING), ("timestamp", TIME))
    ),
    "DeleteEntityAuthor": RecordSpec(m.DeleteAuthor, (("track_author", STRING), ("timestamp", TIME))),
    "DeleteEntityLink": RecordSpec(m.DeleteLink, _texts("track_link")),
    "DeleteEntityIDs": RecordSpec(m.DeleteIds, (("ids", STRINGS),)),
    "DeleteEntity": RecordSpec(
        m.DeleteEntity,
        (
            ("reason", STRING),
            ("submission", "DeleteEntitySubmission"),
            ("author", "DeleteEntityAuthor"),
            ("link", "DeleteEntityLink"),
            ("ids", "DeleteEntityIDs"),
        ),
    ),
    "DeleteEvent": RecordSpec(m.DeleteEvent, (*_HEAD, ("entity", "DeleteEntity"), ("action", STRING))),
    "DownloadEntity": RecordSpec(
        m.DownloadEntity,
        (
            *_texts("hash direct_url"),
            ("direct_expiry", TIME),
            ("pcap", BOOLEAN),
            ("category", STRING),
            ("category_quota", LONG),
            ("metadata", BYTES),
        ),
    ),
    "DownloadEvent": RecordSpec(
        m.DownloadEvent,
        (*_HEAD, ("source", "EventSource"), ("action", STRING), ("entity", "DownloadEntity")),
    ),
    "InsertEntity": RecordSpec(
        m.InsertEntity,
        (
            *_texts("original_source parent_sha256"),
            ("child", "BinaryEntity"),
            ("child_history", "EventSourcePathNode"),
        ),
    ),
    "InsertEvent": RecordSpec(
        m.InsertEvent, (*_HEAD, ("entity", "InsertEntity"), *_texts("track_link track_author"))
    ),
    "PluginEntityFeature": RecordSpec(m.PluginFeature, (*_texts("name type desc"), ("tags", STRINGS))),
    "PluginEntity": RecordSpec(
        m.PluginEntity,
        (
            *_texts("name version category contact description"),
            ("features", Many("PluginEntityFeature")),
            ("security", STRING),
            ("config", MAP),
        ),
    ),
    "PluginEvent": RecordSpec(m.PluginEvent, (*_HEAD, ("entity", "PluginEntity"))),
    "RetrohuntEvent": RecordSpec(
        m.RetrohuntEvent,
        (*_HEAD, ("entity", BYTES), ("action", STRING), ("source", "RetrohuntSource")),
    ),
    "StatusEntity": RecordSpec(
        m.StatusEntity,
        (
            ("input", "BinaryEvent"),
            ("status", STRING),
            ("runtime", DOUBLE),
            *_texts("error message"),
            ("results", Many("BinaryEvent")),
        ),
    ),
    "StatusEvent": RecordSpec(m.StatusEvent, (*_HEAD, ("entity", "StatusEntity"))),
}
"""Every record by name."""


def record_named(event: type[Event]) -> str:
    """Return the name of the record of a model."""
    return event.__name__


_CHANGED: Final = frozenset(
    {"EventSourcePathNode", "BinaryEntity", "BinaryEntityDatastream", "EventSource"}
)
"""Records that looked different before the current version."""


def readable_versions(record: str) -> tuple[int, ...]:
    """Return the versions whose records of this name are known to have today's fields."""
    return (CURRENT,) if _parts(record) & _CHANGED else tuple(range(OLDEST_STORED, CURRENT + 1))


def _parts(record: str) -> set[str]:
    """Return a record and all it is made of."""
    found = {record}
    for _, kind in RECORDS[record].fields:
        name = kind.record if isinstance(kind, Many) else kind
        if isinstance(name, str) and name in RECORDS:
            found |= _parts(name)
    return found


def schema(record: str) -> dict[str, Any]:
    """Give the Avro schema of one event."""
    spelled: dict[str, Any] = _record(record, set())
    return spelled


def bulk_schema(record: str) -> dict[str, Any]:
    """Give the Avro schema of many events, as clients post and fetch them."""
    items = _record(record, set())
    fields = [
        {"name": "model_version", "type": LONG, "default": 4},
        {"name": "events", "type": {"type": "array", "items": items}},
    ]
    return {"type": "record", "name": f"Bulk{record}", "namespace": NAMESPACE, "fields": fields}


def _record(name: str, defined: set[str]) -> Any:
    """Spell a record out where it is first met, and name it afterwards, as Avro wants it."""
    if name in defined:
        return f"{NAMESPACE}.{name}"
    defined.add(name)
    fields = [{"name": field, "type": _kind(kind, defined)} for field, kind in RECORDS[name].fields]
    for field in fields:
        if field["name"] == "settings":
            field["default"] = {}
    return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}


def _kind(kind: Kind, defined: set[str]) -> Any:
    match kind:
        case Many(record):
            return {"type": "array", "items": _record(record, defined)}
        case Fixed(name) if name in defined:
            return f"{NAMESPACE}.{name}"
        case Fixed(name):
            defined.add(name)
            return {"type": "fixed", "name": name, "namespace": NAMESPACE, "size": 8}
        case str() if kind in RECORDS:
            return _record(kind, defined)
        case _:
            return kind
