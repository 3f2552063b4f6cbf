"""The archive's metrics (archive contract, section 17.3), in the registry of `pipeline.metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from pipeline.metrics import REGISTRY

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)

RECEIVED = Counter("headrace_archive_received_messages", "Messages taken from topics.", registry=REGISTRY)
STORED = Counter(
    "headrace_archive_stored_messages",
    "Messages whose object and row are durable.",
    ["layout"],
    registry=REGISTRY,
)
STORED_BYTES = Counter(
    "headrace_archive_stored_bytes", "Bytes of the objects written.", ["layout"], registry=REGISTRY
)
DUPLICATES = Counter(
    "headrace_archive_duplicate_messages", "Messages that were stored before.", registry=REGISTRY
)
PARKED = Counter(
    "headrace_archive_parked_messages",
    "Messages put aside because they cannot be stored.",
    registry=REGISTRY,
)
PASSED_OVER = Counter(
    "headrace_archive_passed_over_messages", "Test messages that were not kept.", registry=REGISTRY
)
RETRIES = Counter(
    "headrace_archive_retries", "Steps that failed and were repeated.", ["step"], registry=REGISTRY
)
IN_FLIGHT = Gauge(
    "headrace_archive_in_flight_messages",
    "Messages taken and neither stored nor told apart yet.",
    registry=REGISTRY,
)
OLDEST_SECONDS = Gauge(
    "headrace_archive_oldest_unacknowledged_seconds",
    "Age of the oldest message in flight since it was taken.",
    registry=REGISTRY,
)
LAST_STORED = Gauge(
    "headrace_archive_last_stored_timestamp_seconds",
    "When a message was last stored; since then nothing was.",
    registry=REGISTRY,
)
PUT_SECONDS = Histogram(
    "headrace_archive_put_seconds",
    "Time the store took for an object.",
    ["layout"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
INSERT_SECONDS = Histogram(
    "headrace_archive_insert_seconds",
    "Time the database took for a batch of rows.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
TOPICS = Gauge(
    "headrace_archive_topics",
    "Topics at the last refresh, by what becomes of them.",
    ["state"],
    registry=REGISTRY,
)
POLICY_FAILURES = Counter(
    "headrace_archive_policy_failures",
    "Refreshes at which the policy could not be read.",
    registry=REGISTRY,
)
VERIFIED = Counter(
    "headrace_archive_verified_messages",
    "Messages compared with their objects, by what was found.",
    ["result"],
    registry=REGISTRY,
)
UPLOADS = Counter(
    "headrace_archive_uploads", "Messages handed in over HTTP.", ["result"], registry=REGISTRY
)
BACKUP_READS = Counter(
    "headrace_archive_backup_reads",
    "Objects read from the backup because the first store had lost them.",
    registry=REGISTRY,
)
