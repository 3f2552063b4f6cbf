"""The contract's tables of fields, copied by hand: what a strict client accepts, model by model.

A field maps to ``(optional, shape)``; optional ones are left out when empty. Shapes: `SCALAR`, `MAP` of
text, `OPAQUE` JSON, a table, or a list of one shape.
"""

from __future__ import annotations

from typing import Any, Final

SCALAR: Final = "scalar"
MAP: Final = "map"
OPAQUE: Final = "opaque"


def fields(always: str, optional: str = "", **shapes: Any) -> dict[str, tuple[bool, Any]]:
    """Make a table; fields without a shape of their own are scalars."""
    table = {name: (False, shapes.get(name, SCALAR)) for name in always.split()}
    table |= {name: (True, shapes.get(name, SCALAR)) for name in optional.split()}
    return table


AUTHOR = fields("name", "version category security")
NODE = fields(
    "author action sha256 timestamp",
    "relationship file_format size filename language",
    author=AUTHOR,
    relationship=MAP,
)
SOURCE = fields(
    "name path timestamp", "references security settings", path=[NODE], references=MAP, settings=MAP
)
FEATURE = fields("name value type", "label size offset")
STREAM = fields(
    "label size sha512 sha256 sha1 md5 mime magic",
    "identify_version ssdeep tlsh file_format file_extension language",
)
ENTITY = fields(
    "sha256",
    "sha512 sha1 md5 ssdeep tlsh size mime magic file_format file_extension features datastreams info",
    features=[FEATURE],
    datastreams=[STREAM],
    info=OPAQUE,
)
FLAGS = fields("", "bypass_cache expedite retry")
COMMON_OPTIONAL = "model_version kafka_key"
BINARY = fields(
    "timestamp author source entity action flags",
    f"{COMMON_OPTIONAL} dequeued retries track_source_references track_links track_authors",
    author=AUTHOR,
    source=SOURCE,
    entity=ENTITY,
    flags=FLAGS,
    track_links=[SCALAR],
    track_authors=[SCALAR],
)
STATUS_ENTITY = fields("input status", "runtime error message results", input=BINARY, results=[BINARY])
PLUGIN_ENTITY = fields(
    "name",
    "version category contact description features security config",
    features=[fields("name type desc", "tags", tags=[SCALAR])],
    config=MAP,
)
INSERT_ENTITY = fields(
    "original_source parent_sha256 child child_history", child=ENTITY, child_history=NODE
)
DELETE_ENTITY = fields(
    "",
    "reason submission author link ids",
    submission=fields("", "track_source_references timestamp"),
    author=fields("", "track_author timestamp"),
    link=fields("", "track_link"),
    ids=fields("", "ids", ids=[SCALAR]),
)
DOWNLOAD_ENTITY = fields(
    "hash", "direct_url direct_expiry pcap category category_quota metadata", metadata=OPAQUE
)
RETROHUNT_SOURCE = fields("timestamp", "submitter security")

MODEL_TABLES: Final[dict[str, dict[str, tuple[bool, Any]]]] = {
    "binary": BINARY,
    "status": fields("timestamp author entity", COMMON_OPTIONAL, author=AUTHOR, entity=STATUS_ENTITY),
    "plugin": fields("timestamp author entity", COMMON_OPTIONAL, author=AUTHOR, entity=PLUGIN_ENTITY),
    "insert": fields(
        "timestamp author entity",
        f"{COMMON_OPTIONAL} track_link track_author",
        author=AUTHOR,
        entity=INSERT_ENTITY,
    ),
    "delete": fields(
        "timestamp author entity action", COMMON_OPTIONAL, author=AUTHOR, entity=DELETE_ENTITY
    ),
    "download": fields(
        "timestamp author source entity action",
        COMMON_OPTIONAL,
        author=AUTHOR,
        source=SOURCE,
        entity=DOWNLOAD_ENTITY,
    ),
    "retrohunt": fields(
        "timestamp author entity source",
        f"{COMMON_OPTIONAL} action",
        author=AUTHOR,
        entity=OPAQUE,
        source=RETROHUNT_SOURCE,
    ),
}


def breaches(value: Any, shape: Any, where: str = "$") -> list[str]:
    """List where a decoded event differs from its table: unknown, missing or needlessly written fields."""
    if isinstance(shape, list):
        return [
            found for i, item in enumerate(value) for found in breaches(item, shape[0], f"{where}[{i}]")
        ]
    if not isinstance(shape, dict):
        return []
    found = [f"{where}.{name} is unknown" for name in value if name not in shape]
    for name, (optional, inner) in shape.items():
        if name not in value:
            found += [] if optional else [f"{where}.{name} is missing"]
            continue
        if optional and inner is not OPAQUE and value[name] in ("", 0, False, None, [], {}):
            found += [] if isinstance(inner, dict) else [f"{where}.{name} is empty and written"]
        found += breaches(value[name], inner, f"{where}.{name}")
    return found


def with_strangers(value: Any, shape: Any) -> Any:
    """Return a decoded event with a field nobody knows in each of its objects."""
    if isinstance(shape, list):
        return [with_strangers(item, shape[0]) for item in value]
    if not isinstance(shape, dict):
        return value
    known = {name: with_strangers(inner, shape[name][1]) for name, inner in value.items()}
    return {"stranger": [{"a": None}, 1.5], **known}
