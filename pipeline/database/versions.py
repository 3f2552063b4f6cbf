"""Which version the tables of a database are of, told without Alembic.

Alembic takes long to import, and nearly every start finds the tables up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Connection, inspect, text

VERSION_TABLE = "headrace_migrations"
MIGRATIONS = Path(__file__).parent / "migrations"

_NUMBERED = re.compile(r"m(\d+)_\w+\.py")


def newest() -> str:
    """Return the version this release makes: the number of its last migration. Blocks."""
    found = (_NUMBERED.fullmatch(path.name) for path in MIGRATIONS.iterdir())
    return max(match[1] for match in found if match)


def current(connection: Connection, schema: str | None = None) -> str | None:
    """Tell which version the tables are of; None when there are none, or none of ours."""
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return None
    rows = list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())  # noqa: S608
    return ", ".join(sorted(rows)) or None


def is_current(connection: Connection, version: str, schema: str | None = None) -> bool:
    """Tell whether the tables are of a version; False also when there are none."""
    return current(connection, schema) == version
