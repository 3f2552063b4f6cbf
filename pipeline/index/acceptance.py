"""What no index takes, whatever its kind: the part of refusing that both decide before writing.

Everything else about a document's shape is judged by OpenSearch's mapping, and by `pipeline.index.leaves`
in the same way for SQLite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import orjson

from pipeline import limits
from pipeline.index import values
from pipeline.index.port import Document, Refused
from pipeline.index.schema import OWN_FIELDS, feature_field, schema_of

_HASH = re.compile(r"[0-9a-f]{64}")
_VERSION_MAX = 2**63 - 1


def accept(documents: Sequence[Document]) -> tuple[list[tuple[Document, bytes]], list[Refused]]:
    """Part documents into those to write, each with its body as JSON, and those refused."""
    accepted: list[tuple[Document, bytes]] = []
    refused: list[Refused] = []
    for document in documents:
        reason = _refusal(document)
        if reason is None:
            try:
                accepted.append((document, orjson.dumps(document.body)))
                continue
            except orjson.JSONEncodeError as error:
                reason = f"its body is not JSON: {error}"
        refused.append(Refused(document.id, reason))
    return accepted, refused


def _refusal(document: Document) -> str | None:
    if not _is_id(document.id):
        return f"a document id has 1 to {limits.DOCUMENT_ID_MAX_BYTES} bytes of UTF-8"
    if not 0 <= document.version <= _VERSION_MAX:
        return f"a version is 0 to 2^63 - 1, not {document.version}"
    if schema_of(document.family).routed and not _HASH.fullmatch(document.routing or ""):
        return f"the routing of {document.family} is a sha256, not {document.routing!r}"
    if document.family == "status":
        return _bad_time(document.body.get("timestamp")) or _bad_name(document)
    return _bad_name(document)


def _is_id(text: str) -> bool:
    try:
        return 0 < len(text.encode()) <= limits.DOCUMENT_ID_MAX_BYTES
    except UnicodeEncodeError:
        return False


def _bad_name(document: Document) -> str | None:
    """Say which name cannot be a field, or not of an open group."""
    for name in OWN_FIELDS:
        if name in document.body:
            return f"the field {name!r} belongs to the index"
    for group in schema_of(document.family).open_fields:
        fields = document.body.get(group)
        for name in fields if isinstance(fields, Mapping) else ():
            if feature_field(name) != name:
                return f"{name!r} cannot be a field of {group!r}"
    return None


def _bad_time(timestamp: object) -> str | None:
    """Say why a document cannot be put into its stretch of time."""
    try:
        values.time(timestamp)
    except values.Unfit as error:
        return f"its timestamp: {error}"
    except ValueError as error:
        return f"its timestamp is not a time: {error}"
    return None
