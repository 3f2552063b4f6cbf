"""The steps a message takes into the archive, each timed and its failures counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import Histogram

from pipeline import metrics_archive
from pipeline.errors import Unavailable

Step = Literal["describe", "look up", "plan", "put", "insert", "park"]


@contextmanager
def step(name: Step, seconds: Histogram | None = None) -> Iterator[None]:
    """Take one step. One that fails because a part is down counts as repeated: whoever stores does that."""
    started = time.perf_counter()
    try:
        yield
    except Unavailable:
        metrics_archive.RETRIES.labels(name).inc()
        raise
    if seconds is not None:
        seconds.observe(time.perf_counter() - started)
