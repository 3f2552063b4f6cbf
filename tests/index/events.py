"""The events of the metastore contract's worked examples, to change and make documents of."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pipeline.events.models import BinaryEvent
from pipeline.events.sources import SourceDefinition, sources_from

A, B = "aa" * 32, "bb" * 32
LABEL = "OFFICIAL TLP:CLEAR"
UNZIP = {"category": "plugin", "name": "unzip", "version": "7", "security": LABEL}
USER = {"category": "user", "name": "me", "security": LABEL}
SOURCES: dict[str, SourceDefinition] = sources_from(
    {"testing": {"references": [{"name": "user"}, {"name": "task", "priority": False}]}}, "test01"
)


def md5(text: str) -> str:
    """Return the digest keys are made of."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def event(**changes: Any) -> BinaryEvent:
    """Make the event of section 23.2: unzip found ``aa…`` in ``bb…``, which a user submitted."""
    fields: dict[str, Any] = {
        "model_version": 6,
        "kafka_key": "k",
        "timestamp": "2024-03-14T09:00:05Z",
        "author": UNZIP,
        "action": "extracted",
        "source": {
            "name": "testing",
            "security": LABEL,
            "timestamp": "2024-03-14T09:00:00Z",
            "references": {"user": "me"},
            "path": [
                {
                    "sha256": B,
                    "action": "sourced",
                    "timestamp": "2024-03-14T09:00:00Z",
                    "author": USER,
                    "file_format": "archive/zip",
                    "size": 4096,
                },
                {
                    "sha256": A,
                    "action": "extracted",
                    "timestamp": "2024-03-14T09:00:05Z",
                    "author": UNZIP,
                    "relationship": {"action": "extracted", "label": "member"},
                },
            ],
        },
        "entity": {
            "sha256": A,
            "md5": "cc" * 16,
            "size": 812,
            "file_format": "text/plain",
            "datastreams": [{"label": "content", "sha256": A, "size": 812}],
            "features": [{"name": "filename", "type": "filepath", "value": "C:\\x\\note.txt"}],
        },
        "track_source_references": "testing.0f3c",
        "track_authors": ["user.me.", "plugin.unzip.7"],
        "track_links": [f"{B}.{A}.plugin.unzip.7"],
    }
    for path, value in changes.items():
        place = fields
        *above, name = path.split("__")
        for level in above:
            place[level] = dict(place[level])
            place = place[level]
        place[name] = value
    return msgspec.json.decode(msgspec.json.encode(fields), type=BinaryEvent)
