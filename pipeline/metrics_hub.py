"""What the hub counts under the names its operators know (dispatcher contract, section 20).

Metrics of streams are in `pipeline.metrics`. What each counts here, and where that differs from the
contract, is in docs/dispatcher-metrics.md. Series live for ever, so labels that strangers choose go
through `Names`.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from pipeline import limits
from pipeline.metrics import PLAIN, REGISTRY

_EVENT_BUCKETS = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 5, 10)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PLUGIN_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    *(30, 60, 120, 300, 600, 1200, 1800, 2400),
)

OTHER: Final = "other"
"""What names count as that are not told apart."""


class Names:
    """Names that strangers choose, as far as metrics tell them apart.

    The first `limits.METRIC_NAMES_MAX` that come, unless they are long or no text; the rest is `OTHER`.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, ...]] = set()

    def counted_as(self, *names: str) -> tuple[str, ...]:
        """Return the labels for names that belong together: themselves, or `OTHER` for each."""
        if names not in self._known:
            if len(self._known) >= limits.METRIC_NAMES_MAX or not all(map(_is_name, names)):
                return (OTHER,) * len(names)
            self._known.add(names)
        return names


def _is_name(name: str) -> bool:
    return len(name) <= limits.METRIC_NAME_MAX_CHARS and name.isprintable()


PLUGINS: Final = Names()
"""Names of authors and consumers."""

# --- fetching ---
FETCH_REQUESTS = Counter(
    "dispatcher_event_fetch_requests", "Fetches asked for.", ["plugin", "entity"], registry=REGISTRY
)
FETCHED = Counter(
    "dispatcher_events_fetched", "Events consumers received.", ["plugin", "entity"], registry=REGISTRY
)
FILTERED = Counter(
    "dispatcher_events_filtered",
    "Events held back from consumers.",
    ["plugin", "entity"],
    registry=REGISTRY,
)
CONSUME_STAGES = Histogram(
    "dispatcher_events_consume_duration",
    "Seconds a fetch spent in each stage.",
    ["stage"],
    buckets=_EVENT_BUCKETS,
    registry=REGISTRY,
)
CONSUME_STEPS = Histogram(
    "dispatcher_events_consume_pipelines_duration",
    "Seconds a fetch spent in each step of the consumer pipeline.",
    ["pipeline"],
    buckets=_EVENT_BUCKETS,
    registry=REGISTRY,
)
CONSUME_REMOVED = Counter(
    "dispatcher_events_consume_pipelines_removed",
    "Events a step of the consumer pipeline held back.",
    ["pipeline"],
    registry=PLAIN,
)
CONSUME_ERRORS = Counter(
    "dispatcher_events_consume_pipelines_error",
    "Events a step of the consumer pipeline could not judge, and failures of the step.",
    ["pipeline"],
    registry=PLAIN,
)
NOT_READY = Gauge(
    "dispatcher_events_consume_not_ready",
    "Subscriptions that read nothing, as of the consumer's last fetch.",
    ["plugin", "version"],
    registry=REGISTRY,
)

DEDUPE_LOOKUPS = Counter(
    "dispatcher_dedupe_lookups", "Questions whether a plugin has received an event.", registry=REGISTRY
)
DEDUPE_HITS = Counter(
    "dispatcher_dedupe_hits", "Events held back because their plugin has received them.", registry=REGISTRY
)
DEDUPE_COLLISIONS = Counter(
    "dispatcher_dedupe_collisions", "Received events that others took the place of.", registry=REGISTRY
)
REPLAYED = Gauge(
    "dispatcher_replay_cache_hit_count",
    "Tasks not given out because their result was known.",
    ["name"],
    registry=REGISTRY,
)
REPLAYED_SECONDS = Gauge(
    "dispatcher_replay_cache_hit_seconds",
    "Seconds those tasks took when they were done.",
    ["name"],
    registry=REGISTRY,
)

# --- publishing ---
PUBLISHED = Counter(
    "dispatcher_events_published",
    "Events clients published, by author and model.",
    ["plugin", "entity"],
    registry=REGISTRY,
)
STATUSES = Counter(
    "dispatcher_events_status_published",
    "Statuses published by plugins.",
    ["plugin", "status"],
    registry=PLAIN,
)
PLUGIN_SECONDS = Histogram(
    "dispatcher_processing_time_seconds",
    "Seconds plugins say they worked on what they completed.",
    ["publisher"],
    buckets=_PLUGIN_BUCKETS,
    registry=REGISTRY,
)
PRODUCE_STAGES = Histogram(
    "dispatcher_events_produce_duration",
    "Seconds a publish spent in each stage.",
    ["stage"],
    buckets=_EVENT_BUCKETS,
    registry=REGISTRY,
)
PRODUCE_STEPS = Histogram(
    "dispatcher_events_produce_pipelines_duration",
    "Seconds a publish spent in each step of the producer pipeline.",
    ["pipeline"],
    buckets=_EVENT_BUCKETS,
    registry=REGISTRY,
)
PRODUCE_REMOVED = Counter(
    "dispatcher_events_produce_pipelines_removed",
    "Events a step of the producer pipeline dropped.",
    ["pipeline"],
    registry=PLAIN,
)
PRODUCE_ADDED = Counter(
    "dispatcher_events_produce_pipelines_added",
    "Events a step of the producer pipeline added.",
    ["pipeline"],
    registry=PLAIN,
)
PRODUCE_ERRORS = Counter(
    "dispatcher_events_produce_pipelines_error",
    "Failures of a step of the producer pipeline.",
    ["pipeline"],
    registry=PLAIN,
)
BAD_VERSION = Counter(
    "dispatcher_events_produce_bad_version",
    "Declared for those who look for it; nothing counts it.",
    ["entity", "version", "author"],
    registry=PLAIN,
)

# --- tasks ---
TRACKED = Gauge(
    "dispatcher_events_redis_tracking",
    "Tasks handed to plugins and not finished.",
    ["origin"],
    registry=REGISTRY,
)
TRACKING = Counter(
    "dispatcher_events_redis_tracking_control", "What happened to tasks.", ["origin"], registry=PLAIN
)

# --- log ---
CONSUMED_BYTES = Gauge(
    "dispatcher_kafka_consumed_message_bytes_total",
    "Bytes of records read from topics the hub follows for itself.",
    ["name", "group", "topic"],
    registry=REGISTRY,
)
REBALANCES = Counter(
    "dispatcher_kafka_rebalance_count",
    "Times a group gave this process its partitions.",
    ["name", "group"],
    registry=PLAIN,
)
RESTARTS = Counter(
    "dispatcher_kafka_consumer_restart_count",
    "Consumers that were started again after a failure.",
    ["name", "group", "kerrorCode"],
    registry=PLAIN,
)
PRODUCED_BYTES = Gauge(
    "dispatcher_kafka_produced_message_bytes_total",
    "Bytes of records appended to the log.",
    ["topic"],
    registry=REGISTRY,
)
PRODUCE_FAILED = Counter(
    "dispatcher_kafka_produced_message_error",
    "Records that could not be appended to the log.",
    ["topic"],
    registry=REGISTRY,
)

# --- requests ---
REQUEST_SECONDS = Histogram(
    "dispatcher_restapi_time_seconds",
    "Duration of requests to the hub.",
    ["method", "path"],
    buckets=_REQUEST_BUCKETS,
    registry=REGISTRY,
)
RESPONSES = Counter(
    "dispatcher_restapi_response_codes",
    "Answers of the hub by their status.",
    ["method", "path", "code"],
    registry=PLAIN,
)

# --- streams ---
METADATA_REQUESTS = Counter(
    "dispatcher_metadata_requests",
    "Declared for those who look for it; nothing counts it.",
    registry=REGISTRY,
)
UNIDENTIFIED = Counter(
    "dispatcher_identify_fail",
    "Uploads whose format is not known.",
    ["mime", "magic"],
    registry=PLAIN,
)

# --- copying between prefixes ---
REPROCESS_EOF = Gauge(
    "reprocessor_eof", "Whether a topic was read to its end.", ["source_topic"], registry=REGISTRY
)
REPROCESS_EVENTS = Counter(
    "reprocessor_event_count", "Events copied from a topic.", ["source_topic"], registry=PLAIN
)
