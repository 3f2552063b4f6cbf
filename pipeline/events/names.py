"""The closed lists of the event models: models, actions, labels, statuses, feature types.

Events hold these as plain text, because an unknown word must not stop an event from being decoded; whether
a word is allowed is for `pipeline.events.validity`. Contract: dispatcher sections 1, 4.
"""

from __future__ import annotations

from typing import Final, Literal

Model = Literal["binary", "delete", "download", "insert", "plugin", "status", "retrohunt"]
CURRENT: Final = 6
"""Current version of all models."""

MODELS: Final[tuple[Model, ...]] = (
    "binary",
    "delete",
    "download",
    "insert",
    "plugin",
    "status",
    "retrohunt",
)

SOURCED: Final = "sourced"
EXTRACTED: Final = "extracted"
AUGMENTED: Final = "augmented"
MAPPED: Final = "mapped"
ENRICHED: Final = "enriched"
ACTIONS: Final = (SOURCED, EXTRACTED, AUGMENTED, MAPPED, ENRICHED)
"""What can have happened to a binary."""
ACTIONS_WITH_CONTENT: Final = frozenset((SOURCED, EXTRACTED, AUGMENTED))
"""Actions whose events must name a content stream."""

CONTENT: Final = "content"
"""Label of the stream that is the file itself."""
LABELS: Final = frozenset(
    (
        "assemblyline",
        "cape_report",
        CONTENT,
        "cs_call_tree",
        "decompiled_cs",
        "decompiled_c",
        "decompiled_java",
        "deob_js",
        "password_dictionary",
        "pcap",
        "report",
        "safe_png",
        "screenshot",
        "test",
        "text",
        "yara_rule_hit",
    )
)

HEARTBEAT: Final = "heartbeat"
DEQUEUED: Final = "dequeued"
OPT_OUT: Final = "opt-out"
ERROR_NETWORK: Final = "error-network"
COMPLETED: Final = frozenset(("completed", "completed-empty", "completed-with-errors"))
"""Status values that mean success."""
IN_PROGRESS: Final = frozenset((HEARTBEAT, DEQUEUED))
"""Status values that do not end a task; every other text does."""
ERRORS: Final = frozenset(
    (
        "error-exception",
        ERROR_NETWORK,
        "error-runner",
        "error-input",
        "error-output",
        "error-timeout",
        "error-out-of-memory",
    )
)
STATUSES: Final = COMPLETED | IN_PROGRESS | ERRORS | {OPT_OUT, "download-requested"}

FEATURE_TYPES: Final = frozenset(("integer", "float", "string", "binary", "datetime", "filepath", "uri"))
DELETE_ACTIONS: Final = frozenset(("submission", "link", "author", "ids"))
DOWNLOAD_ACTIONS: Final = frozenset(
    ("requested", "success", "failed", "failed-not-found", "skipped-already-present")
)
RETROHUNT_ACTIONS: Final = frozenset(("submitted", "starting", "running", "completed"))
