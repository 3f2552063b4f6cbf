"""Binary events as documents: what is known about a file, by whom, from where, found in what.

One event gives two documents: the parent, which stands for the file, and a child with the knowledge. The
action decides how much of the event is kept and what the child's id is made of, so that knowledge which
repeats replaces itself. Contract: metastore sections 3.2, 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from pipeline import limits
from pipeline.events import times
from pipeline.events.binary import BinaryEvent
from pipeline.events.names import AUGMENTED, CONTENT, ENRICHED, EXTRACTED, MAPPED
from pipeline.events.parts import Datastream, PathNode, Source
from pipeline.events.sources import SourceDefinition
from pipeline.index import security, similarity
from pipeline.index.document_parts import (
    author_fields,
    author_name,
    field_names,
    given,
    invalid,
    md5,
    version_of,
)
from pipeline.index.features import feature_fields
from pipeline.index.names import ANYONE
from pipeline.index.port import Document
from pipeline.index.values import WHOLE

PARENT_VERSION: Final = 1
"""Parents never change, so the second and all later ones are skipped."""
EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NOT_IN_IDS: Final = re.compile(r"[^0-9A-Za-z.]")
_HASHES: Final = ("sha256", "sha512", "sha1", "md5")
_NOT_LIFTED: Final = ("features", "datastreams", "info")
_WITH_LINK: Final = (EXTRACTED, MAPPED)


def binary_documents(
    event: BinaryEvent, sources: Mapping[str, SourceDefinition], default_security: str
) -> list[Document]:
    """Return the parent and the child of a binary event.

    Raises:
        EventInvalid: It has no sha256 or tracking fields, its source is not configured, it has too many
            parts, or a hash in it is none.
    """
    sha256 = event.entity.sha256.lower()
    origin = _origin(event, sources, default_security)
    label = _label(event, default_security)
    body = {
        "binary_info": {"name": "metadata", "parent": sha256},
        "security": label,
        "encoded_security": security.encode(label),
        **_result(event, sha256, default_security),
        **origin,
    }
    id_ = _id(event, sha256, label, origin)
    return [_parent(sha256), Document("binary2", id_, body, version_of(event.timestamp), sha256)]


def binary_id(event: BinaryEvent, sources: Mapping[str, SourceDefinition], default_security: str) -> str:
    """Return the id of the child of a binary event, without making it. Raises as `binary_documents`."""
    origin = _origin(event, sources, default_security)
    return _id(event, event.entity.sha256.lower(), _label(event, default_security), origin)


def _label(event: BinaryEvent, default_security: str) -> str:
    authors = (event.author, *(node.author for node in event.source.path))
    return security.combine((event.source.security, *(each.security for each in authors)), default_security)


def _origin(
    event: BinaryEvent, sources: Mapping[str, SourceDefinition], default_security: str
) -> dict[str, Any]:
    """Return where a sound event says its binary came from and what it was found in."""
    definition = sources.get(event.source.name)
    _check(event, event.entity.sha256.lower(), known=definition is not None)
    assert definition is not None  # noqa: S101 - checked just above
    fields: dict[str, Any] = {}
    if event.action != ENRICHED:
        fields |= _submission(event, definition, default_security)
    if event.action in _WITH_LINK and len(event.source.path) > 1:
        fields |= _link(event, default_security)
    return fields


def _check(event: BinaryEvent, sha256: str, *, known: bool) -> None:
    what = f"an event about {sha256[:64]!r}"
    if not _HASH.fullmatch(sha256):
        raise invalid(what, "that is not a sha256")
    if not event.track_source_references or not event.track_authors:
        raise invalid(what, "it has no tracking fields")
    if not known:
        raise invalid(what, f"its source {event.source.name!r} is not configured")
    if len(event.entity.datastreams) > limits.DATASTREAMS_PER_EVENT:
        raise invalid(what, f"more than {limits.DATASTREAMS_PER_EVENT} datastreams")
    sizes = [event.entity.size, *(each.size for each in event.entity.datastreams)]
    sizes += [node.size for node in event.source.path]
    if max(sizes) > WHOLE["unsigned_long"][1]:
        raise invalid(what, "a size in it is beyond any file")


def _parent(sha256: str) -> Document:
    body = {
        "binary_info": {"name": "binary"},
        "security": ANYONE,
        "encoded_security": security.encode(ANYONE),
    }
    return Document("binary2", sha256, body, PARENT_VERSION, sha256)


def _id(event: BinaryEvent, sha256: str, label: str, origin: Mapping[str, Any]) -> str:
    parts = [sha256, author_name(event.author), event.action, _bare(label)]
    if "source" in origin:
        source = origin["source"]
        parts += [
            event.track_source_references,
            _bare(source["timestamp"]),
            _bare(source.get("security", "")),
        ]
    if "parent" in origin:
        parts.append(origin["parent"]["sha256"])
    return ".".join(parts)


def _bare(text: str) -> str:
    return _NOT_IN_IDS.sub("", text)


def _result(event: BinaryEvent, sha256: str, default_security: str) -> dict[str, Any]:
    """Return what was found out, by whom and when: the part every action keeps."""
    entity = event.entity
    key = f"{sha256}.{author_name(event.author)}.{event.action}"
    info = _info(event)
    fields = {
        **_lowered({name: value for name, value in given(entity).items() if name not in _NOT_LIFTED}),
        "timestamp": times.normal(event.timestamp),
        "action": event.action,
        "author": author_fields(event.author, default_security),
        "track_author": event.track_authors[-1],
        "sha256_author_action": key,
        **_similarity(event, info),
        **feature_fields(entity.features, sha256, key),
    }
    if sha256 == EMPTY_SHA256:
        fields["size"] = 0  # events leave out what is zero
    if info is not None:
        fields["info"] = info
        fields["uniq_info"] = f"{key}.{md5(orjson.dumps(info, option=orjson.OPT_SORT_KEYS))}"
    if event.action != ENRICHED and entity.datastreams:
        streams = sorted(
            (_stream(each) for each in entity.datastreams), key=lambda each: each.get("sha256", "")
        )
        fields["uniq_data"] = f"{key}.{md5('.'.join(each.get('sha256', '') for each in streams))}"
        fields["datastreams"] = [
            each for each in streams if event.action != AUGMENTED or each.get("label") != CONTENT
        ]
    return fields


def _info(event: BinaryEvent) -> Any:
    """Return what a plugin says freely, None when it says nothing."""
    info = event.entity.info
    if isinstance(info, msgspec.UnsetType):
        return None
    try:
        # orjson takes numbers beyond 64 bits as fractions, which every part further on can hold.
        return orjson.loads(bytes(info)) or None
    except orjson.JSONDecodeError as error:
        raise invalid(f"an event about {event.entity.sha256}", f"its info is not JSON: {error}") from error


def _similarity(event: BinaryEvent, info: Any) -> dict[str, Any]:
    told = info if isinstance(info, dict) else {}
    fields: dict[str, Any] = {}
    ssdeep = event.entity.ssdeep or told.get("ssdeep")
    if ssdeep:
        try:
            fields["encoded_ssdeep"] = similarity.encoded_ssdeep(str(ssdeep))
        except ValueError as error:
            raise invalid(f"an event about {event.entity.sha256}", str(error)) from error
    vector = similarity.tlsh_vector(str(event.entity.tlsh or told.get("tlsh") or ""))
    if vector:
        fields["tlsh_vector"] = vector
    entropy = told.get("entropy")
    blocks = entropy.get("blocks") if isinstance(entropy, dict) else None
    if isinstance(blocks, list) and all(_is_number(block) for block in blocks):
        vector = similarity.entropy_vector(blocks)
        if vector:
            fields["entropy_vector"] = vector
    return fields


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _stream(stream: Datastream) -> dict[str, Any]:
    return _lowered({**given(stream), "size": stream.size})


def _lowered(fields: dict[str, Any]) -> dict[str, Any]:
    for name in _HASHES:
        if name in fields:
            fields[name] = fields[name].lower()
    return fields


def _submission(event: BinaryEvent, definition: SourceDefinition, default_security: str) -> dict[str, Any]:
    """Return where the binary came from."""
    depth = len(event.source.path) - (2 if event.action == AUGMENTED else 1)
    return {
        "depth": max(0, depth),
        "track_source_references": event.track_source_references,
        "track_source_references_grouped": _grouped(event, definition),
        "source": _source(event.source, default_security),
    }


def _grouped(event: BinaryEvent, definition: SourceDefinition) -> str:
    important = {reference.name for reference in definition.references if reference.priority}
    chosen = sorted(item for item in event.source.references.items() if item[0] in important)
    if not chosen:
        return event.track_source_references
    return f"{event.source.name}.{md5(''.join(f'{key}.{value}.' for key, value in chosen))}"


def _source(source: Source, default_security: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": source.name, "timestamp": times.normal(source.timestamp)}
    label = security.normalise(source.security, default_security)
    if label:
        fields["security"] = label
    if source.references:
        fields["references"] = source.references
        fields["encoded_references"] = [
            {"key": key, "value": value, "key_value": f"{key}.{value}"}
            for key, value in sorted(source.references.items())
        ]
    if source.settings:
        fields["settings"] = source.settings
        fields["encoded_settings"] = [
            {"key": key, "value": value} for key, value in sorted(source.settings.items())
        ]
    return fields


def _link(event: BinaryEvent, default_security: str) -> dict[str, Any]:
    """Return what the binary was found in."""
    if not event.track_links or len(event.track_authors) < len(event.source.path):
        raise invalid(f"an event about {event.entity.sha256}", "it has no tracking fields")
    parent, node = event.source.path[-2:]
    fields = {
        "track_link": event.track_links[-1],
        "parent_track_author": event.track_authors[-2],
        "parent": _node(parent, default_security),
    }
    if node.relationship:
        fields["parent_relationship"] = field_names(node.relationship)
    return fields


def _node(node: PathNode, default_security: str) -> dict[str, Any]:
    sha256 = node.sha256.lower()
    fields = {
        **given(node),
        "sha256": sha256,
        "timestamp": times.normal(node.timestamp),
        "author": author_fields(node.author, default_security),
        "encoded": {"sha256_author_action": f"{sha256}.{author_name(node.author)}.{node.action}"},
    }
    if node.relationship:
        fields["relationship"] = field_names(node.relationship)
    return fields
