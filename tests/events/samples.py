"""Small valid events to start from; a test changes the one thing it is about."""

from __future__ import annotations

import json
from typing import Any

NODE: dict[str, Any] = {
    "sha256": "aa",
    "action": "sourced",
    "author": {"name": "bob", "category": "user"},
    "timestamp": "2026-01-01T00:00:00Z",
}
SOURCE: dict[str, Any] = {"name": "testing", "timestamp": "2026-01-01T00:00:00Z", "path": [NODE]}
COMMON: dict[str, Any] = {
    "model_version": 6,
    "kafka_key": "tmp",
    "timestamp": "2026-11-01T10:20:30Z",
    "author": {"name": "plug", "version": "1.2", "category": "plugin"},
}
BINARY: dict[str, Any] = {
    **COMMON,
    "source": SOURCE,
    "action": "sourced",
    "entity": {"sha256": "aa", "datastreams": [{"label": "content", "size": 3, "sha256": "aa"}]},
}
STATUS: dict[str, Any] = {
    **COMMON,
    "entity": {"input": {**BINARY, "dequeued": "key.plug.1.2.1795252636"}, "status": "completed"},
}
PLUGIN: dict[str, Any] = {**COMMON, "entity": {"name": "plug", "version": "1.2"}}
INSERT: dict[str, Any] = {
    **COMMON,
    "entity": {
        "original_source": "testing",
        "parent_sha256": "aa",
        "child": {"sha256": "bb", "datastreams": [{"label": "content"}]},
        "child_history": {**NODE, "sha256": "bb", "action": "extracted"},
    },
}
DELETE: dict[str, Any] = {**COMMON, "action": "ids", "entity": {"reason": "test", "ids": {"ids": ["k"]}}}
DOWNLOAD: dict[str, Any] = {
    **COMMON,
    "action": "requested",
    "source": {"name": "testing", "timestamp": "2026-01-01T00:00:00Z"},
    "entity": {"hash": "aa"},
}
RETROHUNT: dict[str, Any] = {
    **COMMON,
    "entity": {"rules": [1.50]},
    "source": {"submitter": "bob", "timestamp": "2026-01-01T00:00:00Z"},
}
BY_MODEL: dict[str, dict[str, Any]] = {
    "binary": BINARY,
    "status": STATUS,
    "plugin": PLUGIN,
    "insert": INSERT,
    "delete": DELETE,
    "download": DOWNLOAD,
    "retrohunt": RETROHUNT,
}


def changed(sample: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a sample with the member at a dotted path set to `value`."""
    copy: dict[str, Any] = json.loads(json.dumps(sample))
    *way, last = path.split(".")
    place: Any = copy
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[int(last) if last.isdigit() else last] = value
    return copy


def without(sample: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a copy of a sample with the member at a dotted path removed."""
    copy = changed(sample, path, None)
    *way, last = path.split(".")
    place: Any = copy
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    del place[last]
    return copy


def body(*events: dict[str, Any]) -> bytes:
    """Return the request body that posts these events."""
    return json.dumps(list(events)).encode()
