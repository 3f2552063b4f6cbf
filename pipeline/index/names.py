"""Names of indices and aliases in OpenSearch. Contract: metastore section 3.1.

Every family has an open half (``azul.o.…``) and a shut half (``azul.x.…``) and one alias over both.
Searches go to the alias, writes to the concrete index that holds a document.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from pipeline.index import values
from pipeline.index.port import Document
from pipeline.index.query import Family

Unit = Literal["year", "month", "week", "day", "all"]
ANYONE: Final = "s-any"
"""The role everybody has (metastore contract, section 12.3)."""

_DAYS_PER_WEEK: Final = 7


class Layout(msgspec.Struct, frozen=True):
    """What the names and sizes of the indices depend on.

    `open_roles` are the roles every user has; a document that asks for no others goes to the open half. The
    security model adds the roles of the minimum access to it.
    """

    partition: str
    shards: int = 1
    replicas: int = 0
    status_unit: Unit = "week"
    open_roles: frozenset[str] = frozenset((ANYONE,))

    def alias(self, family: Family) -> str:
        """Return the name searches use."""
        return f"azul.{self.partition}.{family}"

    def base(self, family: Family) -> str:
        """Return the index that is made at start, so that the alias exists."""
        return f"azul.o.{self.partition}.{family}"

    def patterns(self, family: Family) -> list[str]:
        """Return what matches every index of a family and nothing else."""
        return [f"azul.{half}.{self.partition}.{family}{end}" for half in "ox" for end in ("", ".*")]

    def index(self, document: Document) -> str:
        """Return the concrete index of a document that passed `pipeline.index.acceptance`."""
        if document.family == "binary2":
            return self.binary_index(document.routing or "")
        name = f"azul.{self._half(document.body)}.{self.partition}.{document.family}"
        if document.family == "status":
            return f"{name}.{bucket(values.time(document.body['timestamp']), self.status_unit)}"
        return name

    def binary_index(self, sha256: str) -> str:
        """Return the index of everything about one binary."""
        return f"azul.x.{self.partition}.binary2.{sha256[:1]}"

    def _half(self, body: Mapping[str, Any]) -> str:
        security = body.get("encoded_security")
        if not isinstance(security, Mapping):
            return "x"
        roles = {*_texts(security.get("exclusive")), *_texts(security.get("inclusive"))}
        return "o" if roles <= self.open_roles else "x"


def bucket(epoch_milliseconds: int, unit: Unit) -> str:
    """Return the stretch of time a moment falls into, in UTC.

    A week is the seventh part of the days of a year, and its name begins with the month, so one that spans
    two months has two names.
    """
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=epoch_milliseconds)
    match unit:
        case "year":
            return f"{moment:%Y}"
        case "month":
            return f"{moment:%Y-%m}"
        case "week":
            week = math.ceil(moment.timetuple().tm_yday / _DAYS_PER_WEEK)
            return f"{moment:%Y-%m}-w{week:02d}"
        case "day":
            return f"{moment:%Y-%m-%d}"
        case "all":
            return "all"


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []
