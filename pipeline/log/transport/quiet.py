"""Keep libraries from writing the same line thousands of times while a broker is down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pipeline import limits

_LOGGERS = ("aiokafka", "faust", "mode", "pipeline.log.transport")


class RateLimit(logging.Filter):
    """Lets a few lines of each kind through per minute; the next one through says how many were not.

    Lines are of one kind when they have the same logger and the same text before its values are put in.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is to be written."""
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, str(record.msg)[: limits.LOG_KIND_CHARACTERS])
        now = self._monotonic()
        if len(self._kinds) >= limits.LOG_KINDS:
            self._kinds.clear()
        since, count = self._kinds.get(kind, (now, 0))
        dropped = 0
        if now - since >= limits.LOG_WINDOW_SECONDS:
            dropped = max(count - limits.LOG_LINES_PER_WINDOW, 0)
            since, count = now, 0
        self._kinds[kind] = (since, count + 1)
        if dropped:
            record.msg = f"{record.msg} ({dropped} more of these were left out)"
        return count < limits.LOG_LINES_PER_WINDOW


_LIMIT = RateLimit()


def limit_logs() -> None:
    """Put the limit on every logger of the libraries that exists by now; safe to repeat."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_LOGGERS):
            logging.getLogger(name).addFilter(_LIMIT)
