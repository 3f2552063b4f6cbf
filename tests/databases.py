"""Databases for tests: a new one each time, on SQLite and on the real PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.database.engine import Database

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
"""Parameters for a test or fixture that runs on both."""


@asynccontextmanager
async def postgres_schema(dsn: str) -> AsyncIterator[str]:
    """Give the URL of an empty schema of its own and drop it afterwards."""
    schema = "t" + uuid.uuid4().hex[:12]
    try:
        yield f"{dsn}?schema={schema}"
    finally:
        await drop_schema(dsn, schema)


async def drop_schema(dsn: str, schema: str) -> None:
    """Remove a schema and everything in it."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    finally:
        await connection.close()


async def execute(database: Database, statements: Sequence[str]) -> None:
    """Execute statements in one transaction."""

    async def work(connection: AsyncConnection) -> None:
        for statement in statements:
            await connection.exec_driver_sql(statement)

    await database.write("test", work)


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Give the rows of a query."""

    async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.execute(text(query))]

    return await database.read("test", work)
