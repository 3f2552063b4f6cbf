"""Where an archived message lies in the object store (archive contract, section 8)."""

from __future__ import annotations

import datetime as dt
import re
from uuid import UUID

from pipeline.errors import BadInput

_TOPIC = re.compile(r"[A-Za-z0-9._+-]{1,255}")
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_HOUR_MS = 3_600_000
_DAY_HOURS = 24
_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
"""The Gregorian calendar repeats after so many years, which are so many days."""


def archive_key(topic: str, timestamp_ms: int, uuid: UUID, prefix: str = "") -> str:
    """Give the key: ``<prefix><topic>/<year>/<month>/<day>/<hour>/<uuid>.bson``, UTC, not padded.

    Any 64-bit time has a key, also the far years that senders produce by writing other units than ms.

    Raises:
        BadInput: The topic is no topic's name, so it cannot be part of a path.
    """
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise BadInput("make an archive key", f"{topic!r} is not the name of a topic")
    days, hour = divmod(timestamp_ms // _HOUR_MS, _DAY_HOURS)
    cycle, day_of_cycle = divmod(days + _EPOCH_DAY - 1, _CYCLE_DAYS)
    date = dt.date.fromordinal(day_of_cycle + 1)
    year = date.year + cycle * _CYCLE_YEARS
    return f"{prefix}{topic}/{year}/{date.month}/{date.day}/{hour}/{uuid}.bson"
