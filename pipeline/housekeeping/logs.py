"""Where the log of `housekeeping` and `houseutils` goes, and in which form (stanza `log`).

Besides Headrace's own two forms a stanza may give a format of Python's logging, such as
``%(asctime)s:%(levelname)s:%(message)s``; the message is then the event with its fields. Standard output
belongs to results.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import structlog

from pipeline import logs
from pipeline.errors import SettingError
from pipeline.housekeeping.config import Config
from pipeline.settings import LoggingSettings

_FORMS: Final = ("console", "json")


def configure(config: Config) -> None:
    """Set up logging as the stanza says.

    Raises:
        SettingError: The format is none, or the file cannot be written.
    """
    form, file = config.text("format"), config.text("filename")
    own = form if form in _FORMS else "console"
    logs.configure(LoggingSettings.model_validate({"level": config.text("level"), "format": own}))
    root = logging.getLogger()
    (shown,) = root.handlers
    handler = _to_file(file) if file else shown
    handler.setFormatter(shown.formatter if form in _FORMS else _formatter(form))
    root.handlers = [handler]


def _to_file(name: str) -> logging.Handler:
    try:
        return logging.FileHandler(name)
    except OSError as error:
        raise SettingError(
            f"log file {name}", error.strerror or str(error), "see filename in the log stanza"
        ) from error


def _formatter(form: str) -> logging.Formatter:
    try:
        return _Formatter(form)
    except ValueError as error:
        why = f"neither console nor json nor a format of Python's logging: {error}"
        raise SettingError(f"log format {form!r}", why) from error


class _Formatter(logging.Formatter):
    """Writes structured events as text into a format of Python's logging; times are UTC."""

    converter = staticmethod(time.gmtime)
    _render = structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg
        if isinstance(event, dict):
            record = logging.makeLogRecord({**record.__dict__, "msg": self._text(event), "args": ()})
        return super().format(record)

    def _text(self, event: dict[str, Any]) -> str:
        fields = {name: value for name, value in event.items() if name not in _OF_THE_RECORD}
        said = str(fields.pop("event", ""))
        told = self._render(None, "", fields) if fields else ""
        return f"{said} {told}".strip()


_OF_THE_RECORD: Final = {"level", "logger", "timestamp", "_record", "_from_structlog", "exc_info"}
"""What the format names by itself."""
