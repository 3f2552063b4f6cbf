"""Every limit by name: sizes, depths, counts and waits that bound what one input can cost.

A figure that an operator may want to change is a setting with its default here; the others are fixed.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- events (dispatcher contract, section 8) ---
EVENT_MAX_BYTES = 3 * MIB
"""Largest stored encoding of one event."""
EVENTS_PER_REQUEST = 1000
"""Most events one request may publish or fetch."""

# --- log ---
RECORD_MAX_BYTES = EVENT_MAX_BYTES + 64 * KIB
"""Largest record: an event, its key and its headers."""
LOG_CALL_TIMEOUT_SECONDS = 30.0
"""Longest wait for one answer of the log."""

# --- objects ---
CHUNK_BYTES = 256 * KIB
"""Bytes moved at a time between network, disk and hash functions."""
OBJECT_MAX_BYTES = 64 * GIB
"""Largest object accepted."""
OBJECT_KEY_MAX_BYTES = 1024
"""Longest key, as in S3."""
OBJECT_CALL_TIMEOUT_SECONDS = 60.0
"""Longest wait for one answer of the object store, not counting the bytes themselves."""

# --- outside calls ---
CALL_ATTEMPTS = 5
"""Tries of one outside call before its error is passed on."""
CALL_BACKOFF_SECONDS = 0.2
CALL_BACKOFF_MAX_SECONDS = 30.0

# --- parser process (design, section 4.8) ---
PARSE_TIMEOUT_SECONDS = 60.0
"""Longest time one item may be parsed."""
PARSE_MEMORY_BYTES = 1 * GIB
"""Address space of one parser process beyond what it has at start."""
YARA_SCAN_MAX_BYTES = 64 * MIB
"""YARA reads this much from the start of an object; the result says when there was more."""

# --- index ---
SEARCH_PAGE_MAX = 1000
INDEX_CALL_TIMEOUT_SECONDS = 60.0
QUERY_DEPTH_MAX = 20
QUERY_PARTS_MAX = 200

# --- database ---
DATABASE_CALL_TIMEOUT_SECONDS = 60.0

# --- tasks (metastore contract, section 9) ---
TASK_LAPSE_SECONDS = 30 * 60
"""A task not heard of for this long is lost."""
TASK_RETRIES = 3
TASK_BACKOFF_SECONDS = (0, 5 * 60, 15 * 60)
"""Pause before retry 1, 2, 3; the last one holds for all further ones."""
