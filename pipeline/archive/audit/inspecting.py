"""One archived message taken apart for a person, and uuids found by a WHERE clause of theirs.

Contract: archive section 15.2, `inspect` and `uuids`. A damaged object is shown as far as it can be read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive import bson, lookup
from pipeline.archive.archive import Archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Damaged, NotFound, TooLarge

_CLAUSE = re.compile(r"\s*(where|order\s+by|limit)\b", re.IGNORECASE)


class Inspected(msgspec.Struct, frozen=True):
    """A message: its row, the bytes of its document, what they say, and what is wrong with them.

    `data` is None when the store has no object; `document` when the bytes are no archived message.
    """

    row: ArchivedRow
    data: bytes | None
    document: bson.Document | None
    problem: str = ""


async def inspect(archive: Archive, uuid: UUID) -> Inspected | None:
    """Read the message with that uuid; None when there is none. A damaged one raises nothing.

    Raises:
        Unavailable: The store or the database does not answer.
    """
    row = await lookup.by_uuid(archive.database, uuid)
    if row is None:
        return None
    try:
        data = await lookup.read_bytes(archive.objects, row)
    except (NotFound, Damaged) as error:
        return Inspected(row, None, None, str(error))
    problems = []
    try:
        lookup.compare(row, data)
    except Damaged as error:
        problems.append(error.why)
    document = None
    try:
        document = bson.decode(data)
    except Damaged as error:
        problems.append(error.why)
    return Inspected(row, data, document, "; ".join(problems))


def plain(document: bson.Document) -> dict[str, Any]:
    """Give a document in the shape it is stored in, with its layout; for printing and for JSON."""
    message: Any = document.payload
    metadata: dict[str, Any] = {
        "timestamp": document.timestamp_ms,
        "headers": None if document.headers is None else [list(pair) for pair in document.headers],
        "topic": document.topic,
    }
    if document.layout == 1:
        message = {"format": document.label, "content": document.payload}
    if document.layout != 1 or document.key is not None:
        metadata["key"] = document.key
    return {
        "layout": document.layout,
        "message": message,
        "metadata": metadata,
        "annotations": dict(document.annotations),
    }


def jsonable(value: Any) -> Any:
    """Give a value with its bytes as ``{"$binary": {"base64": …, "subType": "00"}}`` (section 17.1)."""
    if isinstance(value, bytes):
        return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": "00"}}
    if isinstance(value, Mapping):
        return {str(name): jsonable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # BSON's integers are numbers of a kind of their own
    return value if isinstance(value, str | float | bool | None) else str(value)


async def uuids(database: Database, where: str) -> Sequence[UUID]:
    """Give the uuids of ``SELECT uuid FROM messages <where>``, which can change nothing.

    Raises:
        BadInput: The clause is none, is more than one statement, or the database refuses it.
        TooLarge: There are more than `limits_archive.ARCHIVE_UUIDS_MAX`.
        Unavailable: The database does not answer.
    """
    tried = f"find uuids {where.strip()}"
    if not _CLAUSE.match(where):
        raise BadInput(tried, "it does not begin with where, order by or limit")
    if ";" in where:
        raise BadInput(tried, "it has a semicolon", "one question is asked at a time")
    # The operator's own words, in a transaction that cannot write.
    inner = f"SELECT uuid FROM messages {where}"  # noqa: S608
    statement = f"SELECT uuid FROM ({inner}\n) AS found LIMIT {limits_archive.ARCHIVE_UUIDS_MAX + 1}"  # noqa: S608

    async def ask(connection: AsyncConnection) -> list[UUID]:
        try:
            found = await _read_only(connection, statement)
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            raise BadInput(tried, str(error.orig or error).splitlines()[0]) from error
        if len(found) > limits_archive.ARCHIVE_UUIDS_MAX:
            raise TooLarge(tried, f"there are more than {limits_archive.ARCHIVE_UUIDS_MAX}", "add a limit")
        return [one if isinstance(one, UUID) else UUID(str(one)) for one in found]

    return await database.read("find uuids", ask)


async def _read_only(connection: AsyncConnection, statement: str) -> Sequence[Any]:
    """Run a statement in a transaction that cannot write and ends after a while."""
    if connection.dialect.name == "postgresql":
        milliseconds = int(limits_archive.ARCHIVE_QUESTION_SECONDS * 1000)
        await connection.execute(text("SET TRANSACTION READ ONLY"))
        await connection.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
        return (await connection.exec_driver_sql(statement)).scalars().all()
    await connection.exec_driver_sql("PRAGMA query_only = ON")
    try:
        return (await connection.exec_driver_sql(statement)).scalars().all()
    finally:
        # The connection goes back to those who write.
        await connection.exec_driver_sql("PRAGMA query_only = OFF")
