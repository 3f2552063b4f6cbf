"""The archive's hot statements on SQLite: what is known, and storing rows.

Whole batches are asked for as one JSON array; rows go in with one `executemany`. The caller holds the
write lock before `insert`, so nobody else adds rows between its statements.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.message import Content, Place
from pipeline.archive.rows import Row
from pipeline.archive.storing.dedupe import Known, Rule, Stored, Wanted
from pipeline.database.columns import utc_text

_PLACES = """
SELECT asked.key FROM json_each(?) AS asked
WHERE EXISTS (SELECT 1 FROM messages m WHERE coalesce(m.cluster, '') = json_extract(asked.value, '$[0]')
    AND m.topic = json_extract(asked.value, '$[1]')
    AND m.kafka_partition = json_extract(asked.value, '$[2]')
    AND m.kafka_offset = json_extract(asked.value, '$[3]')
    AND m."timestamp" = json_extract(asked.value, '$[4]') AND m.kafka_offset IS NOT NULL)
"""

_UUIDS = """
SELECT uuid, topic, "timestamp", message_crc32, sha256 FROM messages
WHERE uuid IN (SELECT value FROM json_each(?))
"""

_CONTENTS = """
SELECT asked.key FROM json_each(?) AS asked
WHERE EXISTS (SELECT 1 FROM messages m WHERE m.topic = json_extract(asked.value, '$[0]')
    AND m."timestamp" = json_extract(asked.value, '$[1]')
    AND m.message_crc32 = json_extract(asked.value, '$[2]')
    AND (? OR (m.kafka_offset IS NULL AND NOT m.is_client_uuid)))
"""

_COLUMNS = ", ".join(f'"{name}"' for name in Row.__struct_fields__)
_INSERT = (
    f"INSERT INTO messages ({_COLUMNS}) VALUES ({', '.join('?' for _ in Row.__struct_fields__)})"  # noqa: S608
    " ON CONFLICT DO NOTHING"
)
_LAST = "SELECT coalesce(max(id), 0) FROM messages"
_ADDED = "SELECT uuid FROM messages WHERE id > ?"
_COUNT = """
INSERT INTO topics AS t (topic, e_timestamp, l_timestamp, n_messages)
SELECT topic, min("timestamp"), max("timestamp"), count(*) FROM messages WHERE id > ? GROUP BY topic
ON CONFLICT (topic) DO UPDATE SET
    e_timestamp = min(coalesce(t.e_timestamp, excluded.e_timestamp), excluded.e_timestamp),
    l_timestamp = max(coalesce(t.l_timestamp, excluded.l_timestamp), excluded.l_timestamp),
    n_messages = coalesce(t.n_messages, 0) + excluded.n_messages
"""


async def copy(connection: AsyncConnection, rows: Sequence[Row]) -> set[UUID]:
    """Store rows of which none is expected to meet a stored one: as `insert`, which is as fast."""
    return await insert(connection, rows)


async def known(connection: AsyncConnection, wanted: Wanted, rule: Rule) -> Known:
    """Ask what is stored of the places, uuids and contents wanted."""
    result = await connection.exec_driver_sql(_PLACES, (_json(wanted.places),))
    places = {wanted.places[n] for n in result.scalars()}
    result = await connection.exec_driver_sql(_UUIDS, (json.dumps([str(uuid) for uuid in wanted.uuids]),))
    uuids = {
        UUID(row.uuid): Stored(Content(row.topic, row.timestamp, row.message_crc32), row.sha256)
        for row in result
    }
    asked = (_json(wanted.contents), rule == "upstream")
    result = await connection.exec_driver_sql(_CONTENTS, asked)
    contents = {wanted.contents[n] for n in result.scalars()}
    return Known(places, uuids, contents)


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> set[UUID]:
    """Store rows and their topics' statistics; return the uuids of those that met no stored row."""
    last = (await connection.exec_driver_sql(_LAST)).scalar_one()
    await connection.exec_driver_sql(_INSERT, [_values(row) for row in rows])
    await connection.exec_driver_sql(_COUNT, (last,))
    added = await connection.exec_driver_sql(_ADDED, (last,))
    return {UUID(uuid) for uuid in added.scalars()}


def _json(listed: Sequence[Place] | Sequence[Content]) -> str:
    return json.dumps([msgspec.structs.astuple(each) for each in listed])


def _values(row: Row) -> tuple[object, ...]:
    ingested_at = None if row.ingested_at is None else utc_text(row.ingested_at)
    values = msgspec.structs.asdict(row) | {"uuid": str(row.uuid), "ingested_at": ingested_at}
    return tuple(values.values())
