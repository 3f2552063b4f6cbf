"""Operations on streams, measured under the dispatcher's names (contract: section 20)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pipeline import metrics
from pipeline.errors import NotFound

Method = Literal["put", "fetch", "exists", "delete", "copy", "cache-fetch", "cache-fetch-miss"]


@contextmanager
def operation(method: Method) -> Iterator[None]:
    """Measure the body. That there is no such stream is an answer like any other, not an error."""
    started = time.perf_counter()
    result = "error"
    try:
        yield
        result = "ok"
    except NotFound:
        result = "ok"
        raise
    finally:
        metrics.HUB_OPERATIONS.labels(method, result).observe(time.perf_counter() - started)
