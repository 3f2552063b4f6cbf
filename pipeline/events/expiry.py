"""How long the events of a source are kept: ``"2 months"``, ``"0"``. Contract: dispatcher section 7.3."""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline.errors import SettingError

_DAY_SECONDS = 24 * 60 * 60
_UNIT_SECONDS = {
    "days": _DAY_SECONDS,
    "weeks": 7 * _DAY_SECONDS,
    "months": 30 * _DAY_SECONDS,
    "years": 365 * _DAY_SECONDS,
}
_NEVER = ("0", "")
_FORM = re.compile(r"(\d{1,6}) (days|weeks|months|years)", re.ASCII)


@lru_cache(maxsize=1024)
def expiry_seconds(text: str) -> int | None:
    """Read an expiry; None means never.

    Raises:
        SettingError: It is not a whole number, one space and a unit, nor ``0``.
    """
    if text in _NEVER:
        return None
    match = _FORM.fullmatch(text)
    if match is None or not int(match[1]):
        raise SettingError(
            f"read the expiry {text!r}",
            "it is not a number, one space and a unit",
            "write it like '2 months' with days, weeks, months or years, or '0' for never",
        )
    return int(match[1]) * _UNIT_SECONDS[match[2]]
