"""Counting what clients fetch and publish: once a request, under the names of `pipeline.metrics_hub`.

Contract: dispatcher section 20.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Final

from prometheus_client import Counter as MetricCounter
from prometheus_client import Histogram
from prometheus_client.context_managers import ExceptionCounter

from pipeline import metrics_hub
from pipeline.events.models import Event, StatusEvent, model_of
from pipeline.events.names import COMPLETED, STATUSES
from pipeline.hub.wanted import Wanted
from pipeline.metrics_hub import OTHER, PLUGINS

READ: Final = "read_from_kafka"
UPGRADE: Final = "upgrade_event"
METADATA: Final = "metadata"
RUN: Final = "run_pipelines"
"""Stages of a fetch; `RUN` is all steps together."""
BUFFER: Final = "buffer"
TRANSFORM: Final = "transform"
PRODUCE: Final = "produce"
"""Stages of a publish."""
_STAGES: Final = frozenset((READ, UPGRADE, METADATA, BUFFER, TRANSFORM, PRODUCE))
_ERROR: Final = "error"
"""How the reasons of events begin that a step could not judge."""
_USER: Final = "user"


class Stopwatch:
    """What one request spent on each stage and step; for one thread at a time."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def start(self) -> None:
        """Begin to measure; what was before belongs to nothing."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since `start` or the lap before to a stage or step."""
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now

    def observe(self, stages: Histogram, steps: Histogram) -> float:
        """Put one observation of each name into its histogram; return the seconds of all steps."""
        all_steps = 0.0
        for name, seconds in self._seconds.items():
            if name in _STAGES:
                _series(stages, name).observe(seconds)
            else:
                _series(steps, name).observe(seconds)
                all_steps += seconds
        return all_steps


@cache
def _series(histogram: Histogram, name: str) -> Histogram:
    """Return one series of a histogram; finding it takes the library as long as an observation."""
    return histogram.labels(name)


@cache
def failing(errors: MetricCounter, step: str) -> ExceptionCounter:
    """Return a context in which an error is counted as one of a step, and raised."""
    return errors.labels(step).count_exceptions()


# --- fetches ---


def count_requested(wanted: Wanted) -> None:
    """Count a fetch that was asked for."""
    metrics_hub.FETCH_REQUESTS.labels(*PLUGINS.counted_as(wanted.name), wanted.model).inc()


def count_fetched(
    wanted: Wanted, *, fetched: int, removed: Mapping[str, int], not_ready: Collection[str]
) -> None:
    """Count what came of a fetch that was answered.

    Args:
        wanted: The fetch.
        fetched: Events in the answer.
        removed: Events held back, by ``<step>-<reason>``.
        not_ready: Subscriptions that read nothing.
    """
    labels = (*PLUGINS.counted_as(wanted.name), wanted.model)
    metrics_hub.FETCHED.labels(*labels).inc(fetched)
    metrics_hub.FILTERED.labels(*labels).inc(sum(removed.values()))
    for told, count in removed.items():
        step, _, reason = told.partition("-")
        metrics_hub.CONSUME_REMOVED.labels(step).inc(count)
        if reason.startswith(_ERROR):
            metrics_hub.CONSUME_ERRORS.labels(step).inc(count)
    consumer = PLUGINS.counted_as(wanted.name, wanted.version)
    metrics_hub.NOT_READY.labels(*consumer).set(len(not_ready))


def count_consumed(watch: Stopwatch) -> None:
    """Note how long a fetch took to be served."""
    run_seconds = watch.observe(metrics_hub.CONSUME_STAGES, metrics_hub.CONSUME_STEPS)
    if run_seconds:
        _series(metrics_hub.CONSUME_STAGES, RUN).observe(run_seconds)


# --- publishes ---


def count_produced(
    events: Sequence[Event], *, dropped: Mapping[str, int], added: Mapping[str, int], watch: Stopwatch
) -> None:
    """Count what came of a publish.

    Args:
        events: The posted ones that were written.
        dropped: Events dropped, by step.
        added: Events added, by step.
        watch: What it spent.
    """
    watch.observe(metrics_hub.PRODUCE_STAGES, metrics_hub.PRODUCE_STEPS)
    for counter, counts in ((metrics_hub.PRODUCE_REMOVED, dropped), (metrics_hub.PRODUCE_ADDED, added)):
        for step, count in counts.items():
            counter.labels(step).inc(count)
    authors = Counter([(event.author.name, model_of(event)) for event in events])
    for (author, model), count in authors.items():
        metrics_hub.PUBLISHED.labels(*PLUGINS.counted_as(author), model).inc(count)
    for event in events:
        if isinstance(event, StatusEvent):
            _count_status(event)


def _count_status(event: StatusEvent) -> None:
    (author,) = PLUGINS.counted_as(event.author.name)
    status, seconds = event.entity.status, event.entity.runtime
    if event.author.category != _USER:
        metrics_hub.STATUSES.labels(author, status if status in STATUSES else OTHER).inc()
    if status in COMPLETED and 0 <= seconds < math.inf:
        metrics_hub.PLUGIN_SECONDS.labels(author).observe(seconds)
