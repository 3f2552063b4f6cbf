"""Every metric by name, in the registries that `/metrics` prints.

Names follow ``headrace_<thing>_<unit>_total``; the hub's are those of the dispatcher contract, section 20,
most of them in `pipeline.metrics_hub`. docs/operating.md and docs/dispatcher-metrics.md list them all and a
test compares.
"""

from __future__ import annotations

import re

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# They would be one more series for each, of no use to those who know these metrics.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types

REGISTRY = CollectorRegistry(auto_describe=True)
PLAIN = CollectorRegistry(auto_describe=True)
"""Counters printed under the very name they are given; to others the library adds ``_total``."""
_ADDED = re.compile(rb"^((?:# (?:HELP|TYPE) )?\w+)_total\b", re.MULTILINE)


def printed() -> bytes:
    """Return every metric in Prometheus' text format."""
    return generate_latest(REGISTRY) + _ADDED.sub(rb"\1", generate_latest(PLAIN))


_CALL_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
_STREAM_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

AGENT_RECEIVED = Counter(
    "headrace_agent_received",
    "Records an agent took from its topics.",
    ["agent"],
    registry=REGISTRY,
)
AGENT_SENT = Counter(
    "headrace_agent_sent",
    "Records, documents, rows or objects an agent wrote.",
    ["agent"],
    registry=REGISTRY,
)
AGENT_FAILED = Counter(
    "headrace_agent_failed",
    "Attempts of an agent that failed and were repeated.",
    ["agent"],
    registry=REGISTRY,
)
AGENT_PARKED = Counter(
    "headrace_agent_parked",
    "Records an agent put aside with a reason.",
    ["agent"],
    registry=REGISTRY,
)
OUTSIDE_CALLS = Histogram(
    "headrace_outside_call_seconds",
    "Duration of calls to other systems.",
    ["part", "call", "result"],
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)
OUTSIDE_RETRIES = Counter(
    "headrace_outside_call_retries",
    "Repeated calls to other systems.",
    ["part", "call"],
    registry=REGISTRY,
)
PARSED = Counter(
    "headrace_parsed_objects",
    "Objects that went through the parser process.",
    ["result"],
    registry=REGISTRY,
)
TASKS = Gauge("headrace_tasks", "Tasks handed to plugins and not finished.", registry=REGISTRY)
TASK_EVENTS = Counter("headrace_task_events", "What happened to tasks.", ["what"], registry=REGISTRY)
WEB_REQUESTS = Histogram(
    "headrace_web_request_seconds",
    "Duration of HTTP requests until the answer was sent.",
    ["route", "method", "status"],
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)
WEB_RECEIVED = Counter(
    "headrace_web_received_bytes", "Bytes of objects received over HTTP.", registry=REGISTRY
)
WEB_SENT = Counter("headrace_web_sent_bytes", "Bytes of objects sent over HTTP.", registry=REGISTRY)
LOG_LAG = Gauge(
    "headrace_log_lag_records",
    "Records of a partition a group has not acknowledged yet.",
    ["group", "topic", "partition"],
    registry=REGISTRY,
)
AGENT_STALLED = Gauge(
    "headrace_agent_stalled",
    "Whether a group has work and makes no progress.",
    ["group"],
    registry=REGISTRY,
)
HUB_EXISTS = Counter(
    "dispatcher_data_exist_requests", "Questions whether a stream is there.", registry=REGISTRY
)
HUB_UPLOADS = Counter("dispatcher_data_upload_requests", "Uploads of streams.", registry=REGISTRY)
HUB_UPLOADED = Counter("dispatcher_data_uploaded_bytes", "Bytes of streams stored.", registry=REGISTRY)
HUB_DOWNLOADS = Counter("dispatcher_data_download_requests", "Downloads of streams.", registry=REGISTRY)
HUB_DOWNLOADED = Counter(
    "dispatcher_data_downloaded_bytes", "Bytes of streams asked for.", registry=REGISTRY
)
HUB_DELETIONS = Counter("dispatcher_data_delete_requests", "Deletions of streams.", registry=REGISTRY)
HUB_CACHE_LOOKUPS = Counter(
    "dispatcher_data_cache_lookups", "Streams looked for in the cache.", registry=REGISTRY
)
HUB_CACHE_HITS = Counter("dispatcher_data_cache_hits", "Streams found in the cache.", registry=REGISTRY)
HUB_OPERATIONS = Histogram(
    "dispatcher_streams_op_duration",
    "Seconds an operation on streams took the object store.",
    ["method", "result"],
    buckets=_STREAM_BUCKETS,
    registry=REGISTRY,
)
