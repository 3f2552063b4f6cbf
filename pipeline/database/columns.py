"""Column types that hold the same value in PostgreSQL and in SQLite."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import TSVECTOR, UUID
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit serial number; SQLite counts only in columns called INTEGER, which are 64 bits wide there."""

TEXT_INDEX = TSVECTOR().with_variant(Text(), "sqlite")
"""Text prepared for search; SQLite keeps the text itself."""


class UuidColumn(TypeDecorator[uuid.UUID]):
    """A UUID: type `uuid` in PostgreSQL, its lower-case 8-4-4-4-12 text in SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(UUID(as_uuid=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: uuid.UUID | None, dialect: Dialect) -> object:
        """Hand the value to the database."""
        return value if value is None or dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> uuid.UUID | None:
        """Take the value from the database."""
        del dialect
        return uuid.UUID(value) if isinstance(value, str) else value


class UtcTime(TypeDecorator[dt.datetime]):
    """A moment, always with its zone UTC: `timestamptz` in PostgreSQL, ISO 8601 text in SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> object:
        """Hand the value to the database."""
        return value if value is None or dialect.name == "postgresql" else utc_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Take the value from the database."""
        del dialect
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(dt.UTC) if isinstance(moment, dt.datetime) else None


def utc_text(moment: dt.datetime) -> str:
    """Write a moment as SQLite keeps it; texts sort as their moments do."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds")
