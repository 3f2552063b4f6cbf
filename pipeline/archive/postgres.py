"""The archive's two hot statements on PostgreSQL: what is known, and storing a batch.

Whole batches travel as arrays, one per column. Measured against COPY into a temporary table with an
INSERT from there: see docs/decisions.d/archive.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.dedupe import Known, Rule, Stored, Wanted
from pipeline.archive.message import Content
from pipeline.archive.rows import Row

# The limits inside make the planner probe the index once a message; a join it may turn into a scan of all.
_PLACES = """
SELECT asked.n FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[])
    WITH ORDINALITY AS asked(cluster, topic, kafka_partition, kafka_offset, ms, n)
CROSS JOIN LATERAL (SELECT 1 FROM messages m WHERE coalesce(m.cluster, '') = asked.cluster
    AND m.topic = asked.topic AND m.kafka_partition = asked.kafka_partition
    AND m.kafka_offset = asked.kafka_offset AND m."timestamp" = asked.ms AND m.kafka_offset IS NOT NULL
    LIMIT 1) AS found
"""

_UUIDS = """
SELECT found.* FROM unnest($1::uuid[]) AS asked(uuid)
CROSS JOIN LATERAL (SELECT m.uuid, m.topic, m."timestamp", m.message_crc32, m.sha256
    FROM messages m WHERE m.uuid = asked.uuid LIMIT 1) AS found
"""

_CONTENTS = """
SELECT asked.n FROM unnest($1::text[], $2::bigint[], $3::bigint[])
    WITH ORDINALITY AS asked(topic, ms, crc32, n)
CROSS JOIN LATERAL (SELECT 1 FROM messages m WHERE m.topic = asked.topic AND m."timestamp" = asked.ms
    AND m.message_crc32 = asked.crc32
    AND ($4::boolean OR (m.kafka_offset IS NULL AND NOT m.is_client_uuid)) LIMIT 1) AS found
"""

_TYPES = {
    "topic": "text",
    "timestamp": "bigint",
    "uuid": "uuid",
    "size": "integer",
    "key": "text",
    "bucket": "text",
    "crc32": "bigint",
    "is_client_uuid": "boolean",
    "public": "boolean",
    "direct_upload": "boolean",
    "message_crc32": "bigint",
    "title": "text",
    "sender": "text",
    "media_type": "text",
    "file_name": "text",
    "originator": "text",
    "kafka_partition": "integer",
    "kafka_offset": "bigint",
    "cluster": "text",
    "ingested_at": "timestamptz",
    "sha256": "bytea",
    "layout": "smallint",
    "event_key": "text",
}
_COLUMNS = ", ".join(f'"{name}"' for name in Row._fields)
_ARRAYS = ", ".join(f"${n}::{_TYPES[name]}[]" for n, name in enumerate(Row._fields, start=1))

# Upstream's trigger, where a database has it, keeps the statistics itself.
_INSERT = f"""
WITH added AS (
    INSERT INTO messages ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS})
    ON CONFLICT DO NOTHING RETURNING uuid, topic, "timestamp"
), counted AS (
    INSERT INTO topics AS t (topic, e_timestamp, l_timestamp, n_messages)
    SELECT topic, min("timestamp"), max("timestamp"), count(*) FROM added
    WHERE NOT EXISTS (SELECT 1 FROM pg_trigger
        WHERE tgrelid = 'messages'::regclass AND tgname = 'trigger_update_topics')
    GROUP BY topic ORDER BY topic
    ON CONFLICT (topic) DO UPDATE SET
        e_timestamp = least(t.e_timestamp, excluded.e_timestamp),
        l_timestamp = greatest(t.l_timestamp, excluded.l_timestamp),
        n_messages = coalesce(t.n_messages, 0) + excluded.n_messages
)
SELECT uuid FROM added
"""  # noqa: S608 -- column names of ours only


async def known(connection: AsyncConnection, wanted: Wanted, rule: Rule) -> Known:
    """Ask what is stored of the places, uuids and contents wanted."""
    places = set()
    if wanted.places:
        result = await connection.exec_driver_sql(
            _PLACES, tuple(map(list, zip(*wanted.places, strict=True)))
        )
        places = {wanted.places[n - 1] for n in result.scalars()}
    result = await connection.exec_driver_sql(_UUIDS, (wanted.uuids,))
    uuids = {
        UUID(int=row.uuid.int): Stored(Content(row.topic, row.timestamp, row.message_crc32), row.sha256)
        for row in result
    }
    columns = tuple(map(list, zip(*wanted.contents, strict=True)))
    result = await connection.exec_driver_sql(_CONTENTS, (*columns, rule == "upstream"))
    contents = {wanted.contents[n - 1] for n in result.scalars()}
    return Known(places, uuids, contents)


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> set[UUID]:
    """Store rows and their topics' statistics; return the uuids of those that met no stored row.

    Rows go in one order in every writer, so that two that store the same messages wait for each other
    and never both.
    """
    ordered = sorted(rows, key=lambda row: (row.topic, row.uuid))
    columns = tuple(map(list, zip(*ordered, strict=True)))
    result = await connection.exec_driver_sql(_INSERT, columns)
    return {UUID(int=uuid.int) for uuid in result.scalars()}
