"""Enrichment: which events need it, the enriched event that carries it, and how it is read back.

An enriched event says what identification found out about the content of another event; it has no streams
of its own (dispatcher contract, section 4.2). What does not fit the entity's fields travels in ``info``
under ``identify``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pipeline import __version__
from pipeline.events import raw, times
from pipeline.events.models import Author, BinaryEntity, BinaryEvent, Feature, PathNode
from pipeline.events.names import ACTIONS_WITH_CONTENT, CURRENT, ENRICHED
from pipeline.events.records import completed
from pipeline.identify.result import Identified, Problem

AUTHOR: Final = Author(name="headrace", version=__version__, category="plugin")
RULE_FEATURE: Final = "yara_rule"


class Finding(msgspec.Struct, frozen=True):
    """What was found out about one object, as people and programs are shown it."""

    sha256: str
    size_bytes: int = 0
    md5: str = ""
    sha1: str = ""
    sha512: str = ""
    ssdeep: str = ""
    tlsh: str = ""
    entropy: float = 0.0
    """Bits per byte, 0 to 8."""
    mime: str = ""
    magic: str = ""
    file_format: str = ""
    rules: tuple[str, ...] = ()
    """Names of the YARA rules that hit."""
    problem: str = ""
    """What happened to the parser on this object; its hashes are right all the same."""


class _Info(msgspec.Struct, frozen=True, omit_defaults=True):
    """What travels in ``info.identify``."""

    entropy: float = 0.0
    rules_version: str = ""
    rule_hits_left_out: int = 0
    scanned_bytes: int = 0
    truncated: bool = False
    notes: tuple[str, ...] = ()
    problem: Problem | None = None


class _Wrapped(msgspec.Struct, frozen=True):
    identify: _Info = _Info()


def lacks_metadata(event: BinaryEvent) -> bool:
    """Tell whether an event brings content nobody has identified yet."""
    return event.action in ACTIONS_WITH_CONTENT and not event.entity.mime and not event.entity.magic


def enriched_event(event: BinaryEvent, found: Identified, now: dt.datetime) -> BinaryEvent:
    """Make the event that says what was found out about another event's content.

    When the content could not even be hashed, the hashes are those of the other event.
    """
    if not found.sha256:
        entity = event.entity
        found = replace(
            found,
            sha256=entity.sha256,
            sha512=entity.sha512,
            sha1=entity.sha1,
            md5=entity.md5,
            size_bytes=entity.size,
        )
    node = PathNode(
        author=AUTHOR,
        action=ENRICHED,
        sha256=found.sha256,
        timestamp=times.text_of(now),
        size=found.size_bytes,
        filename=event.source.path[-1].filename,
        file_format=found.file_format,
    )
    return completed(_enriched(event, node, _entity(found)))


def enriched_outline(event: BinaryEvent) -> BinaryEvent:
    """Make the enriched event of another event without anything in it: its address is right."""
    sha256 = event.entity.sha256
    return _enriched(
        event, PathNode(author=AUTHOR, action=ENRICHED, sha256=sha256), BinaryEntity(sha256=sha256)
    )


def _enriched(event: BinaryEvent, node: PathNode, entity: BinaryEntity) -> BinaryEvent:
    return BinaryEvent(
        model_version=CURRENT,
        timestamp=node.timestamp,
        author=AUTHOR,
        source=replace(event.source, path=(*event.source.path, node)),
        entity=entity,
        action=ENRICHED,
        flags=replace(event.flags, retry=False),
    )


def finding_of(entity: BinaryEntity) -> Finding:
    """Read an enriched event's entity back."""
    info = _read_info(entity.info)
    return _finding(msgspec.to_builtins(replace(entity, info=msgspec.UNSET)), info)


def finding_of_document(body: Mapping[str, Any]) -> Finding:
    """Read the document of an enriched event back; it has the entity's fields at its root."""
    info = body.get("info")
    return _finding(body, _read_info(msgspec.Raw(msgspec.json.encode(info or {}))))


def _finding(fields: Mapping[str, Any], info: _Info) -> Finding:
    features = fields.get("features") or ()
    return Finding(
        sha256=fields["sha256"],
        size_bytes=fields.get("size", 0),
        **{name: fields.get(name, "") for name in ("md5", "sha1", "sha512", "ssdeep", "tlsh")},
        entropy=info.entropy,
        **{name: fields.get(name, "") for name in ("mime", "magic", "file_format")},
        rules=tuple(feature["value"] for feature in features if feature["name"] == RULE_FEATURE),
        problem=info.problem.text if info.problem else "",
    )


def _entity(found: Identified) -> BinaryEntity:
    scan = found.scan
    info = _Info(
        entropy=found.entropy,
        rules_version=scan.rules_version,
        rule_hits_left_out=scan.hits_left_out,
        scanned_bytes=scan.scanned_bytes,
        truncated=scan.truncated,
        notes=(*found.notes, scan.problem) if scan.problem else found.notes,
        problem=found.problem,
    )
    return BinaryEntity(
        sha256=found.sha256,
        sha512=found.sha512,
        sha1=found.sha1,
        md5=found.md5,
        ssdeep=found.ssdeep,
        tlsh=found.tlsh,
        size=found.size_bytes,
        mime=found.mime,
        magic=found.magic,
        file_format=found.file_format,
        file_extension=found.file_extension,
        features=tuple(
            Feature(name=RULE_FEATURE, value=hit.rule, type="string", label=hit.file) for hit in scan.hits
        ),
        info=raw.of({"identify": info}),
    )


def _read_info(info: msgspec.Raw | msgspec.UnsetType) -> _Info:
    return msgspec.json.decode(bytes(info) if info else b"{}", type=_Wrapped).identify
