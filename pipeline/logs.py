"""Logging: structured lines on standard error, for people or for machines.

Normal operation logs nothing above DEBUG; what is unexpected is a WARNING, what needs a person an ERROR.
Standard output belongs to results.
"""

from __future__ import annotations

import logging
import sys

import structlog

from pipeline.settings import LoggingSettings

NOISY = (
    "aiobotocore",
    "aiokafka",
    "botocore",
    "faust",
    "mode",
    "alembic",
    "aiosqlite",
    "sqlalchemy.engine",
    "pipeline.log.transport",
)
"""Whose INFO is of no use to an operator: libraries, and Faust's services under our names."""
SILENT = ("mode.timers", "opensearch")
"""Whose warnings are of no use either: that a timer is some milliseconds late is no news, and what a
request to OpenSearch failed of is in the error we make of it."""


def configure(settings: LoggingSettings) -> None:
    """Send our lines and those of the libraries through one renderer."""
    level = logging.getLevelNamesMapping()[settings.level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.ERROR)


def _renderers(form: str) -> list[structlog.typing.Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The pretty tracebacks of rich would print every local variable, passwords among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
