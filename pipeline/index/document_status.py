"""Status and download events as documents: how a task went, what became of a wish. One a task and plugin.

Contract: metastore section 3.5 (status).
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.events import times
from pipeline.events.download import DownloadEvent
from pipeline.events.parts import Author, Source
from pipeline.events.status import StatusEvent
from pipeline.index import security
from pipeline.index.document_parts import author_fields, invalid, version_of
from pipeline.index.port import Document

_DOWNLOADS: Final = {
    "requested": ("download-requested", "The file was asked for."),
    "success": ("completed", "The file was downloaded."),
    "failed": ("error-exception", "The download failed."),
    "failed-not-found": ("opt-out", "The provider does not have the file."),
    "skipped-already-present": ("opt-out", "The file is here already."),
}
"""Status and message for each action of a download."""


def status_document(event: StatusEvent, default_security: str) -> Document:
    """Return the document of a status event; of its input only the binary's hash is kept.

    Raises:
        EventInvalid: It has no key.
    """
    told = event.entity
    entity: dict[str, Any] = {"status": told.status, "runtime": told.runtime}
    if told.error:
        entity["error"] = told.error
    if told.message:
        entity["message"] = told.message
    return _document(event, entity, told.input.entity.sha256, told.input.source, default_security)


def download_document(event: DownloadEvent, default_security: str) -> Document:
    """Return the document of a download event, in the form of a status.

    Raises:
        EventInvalid: It has no key or an unknown action.
    """
    if event.action not in _DOWNLOADS:
        raise invalid("a download event", f"there is no action {event.action!r}")
    status, message = _DOWNLOADS[event.action]
    entity = {"status": status, "message": message, "error": "", "runtime": 0.0}
    return _document(event, entity, event.entity.hash, event.source, default_security)


def _document(
    event: StatusEvent | DownloadEvent,
    entity: dict[str, Any],
    sha256: str,
    source: Source,
    default_security: str,
) -> Document:
    if not event.kafka_key:
        raise invalid("a status", "it has no key")
    label = security.combine(_securities(event.author, source), default_security)
    if sha256:
        entity["input"] = {"entity": {"sha256": sha256.lower()}}
    author = event.author
    body = {
        "model_version": event.model_version,
        "timestamp": times.normal(event.timestamp),
        "security": label,
        "encoded_security": security.encode(label),
        "author": author_fields(author, default_security),
        "entity": entity,
        "encoded": {"author": f"{author.name}.{author.category}.{author.version}"},
    }
    return Document("status", event.kafka_key, body, version_of(event.timestamp))


def _securities(author: Author, source: Source) -> list[str]:
    return [author.security, source.security, *(node.author.security for node in source.path)]
