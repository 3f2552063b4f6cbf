"""The archive's hot statements on PostgreSQL: what is known, and storing rows.

Batches travel as arrays, one per column; packs, whose rows are thousands and nearly never meet a stored
one, by COPY. Both measured: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.message import Content, Place
from pipeline.archive.rows import Row
from pipeline.archive.storing import postgres_copy
from pipeline.archive.storing.dedupe import Known, Rule, Stored, Wanted, stretch

# The limits inside make the planner probe the index once a message; a join it may turn into a scan of all.
_PLACES = """
SELECT asked.n FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[])
    WITH ORDINALITY AS asked(cluster, topic, kafka_partition, kafka_offset, ms, n)
CROSS JOIN LATERAL (SELECT 1 FROM messages m WHERE coalesce(m.cluster, '') = asked.cluster
    AND m.topic = asked.topic AND m.kafka_partition = asked.kafka_partition
    AND m.kafka_offset = asked.kafka_offset AND m."timestamp" = asked.ms AND m.kafka_offset IS NOT NULL
    LIMIT 1) AS found
"""

_STRETCH = """
SELECT m.kafka_offset, m."timestamp" FROM messages m
WHERE coalesce(m.cluster, '') = $1 AND m.topic = $2 AND m.kafka_partition = $3
    AND m.kafka_offset BETWEEN $4 AND $5 AND m.kafka_offset IS NOT NULL
"""

_WITHOUT_PLACE = "SELECT EXISTS (SELECT 1 FROM messages WHERE topic = ANY($1) AND kafka_offset IS NULL)"

# In their order, as neighbours share pages of the index.
_UUIDS = """
SELECT found.* FROM (
    SELECT uuid FROM unnest(string_to_array($1, ',')::uuid[]) AS given(uuid) ORDER BY uuid) AS asked
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
    "pack_offset": "bigint",
}
_COLUMNS = ", ".join(f'"{name}"' for name in Row.__struct_fields__)
_ARRAYS = ", ".join(f"${n}::{_TYPES[name]}[]" for n, name in enumerate(Row.__struct_fields__, start=1))

# Upstream's trigger, where a database has it, keeps the statistics itself.
_COUNTED = """
INSERT INTO topics AS t (topic, e_timestamp, l_timestamp, n_messages)
{added} ORDER BY topic
ON CONFLICT (topic) DO UPDATE SET
    e_timestamp = least(t.e_timestamp, excluded.e_timestamp),
    l_timestamp = greatest(t.l_timestamp, excluded.l_timestamp),
    n_messages = coalesce(t.n_messages, 0) + excluded.n_messages
"""
_UNLESS_TRIGGERED = """
WHERE NOT EXISTS (SELECT 1 FROM pg_trigger
    WHERE tgrelid = 'messages'::regclass AND tgname = 'trigger_update_topics')
"""
_GIVEN = f"""
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
    AS given (topic, earliest, latest, n) {_UNLESS_TRIGGERED}
"""  # noqa: S608 -- no values
_COUNT = _COUNTED.format(added=_GIVEN)
_ADDED = f"""
SELECT topic, min("timestamp"), max("timestamp"), count(*) FROM added {_UNLESS_TRIGGERED} GROUP BY topic
"""  # noqa: S608 -- no values
_INSERT = f"""
WITH added AS (
    INSERT INTO messages ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS})
    ON CONFLICT DO NOTHING RETURNING uuid, topic, "timestamp"
), counted AS ({_COUNTED.format(added=_ADDED)})
SELECT uuid FROM added
"""  # noqa: S608 -- column names of ours only


async def known(connection: AsyncConnection, wanted: Wanted, rule: Rule) -> Known:
    """Ask what is stored of the places, uuids and contents wanted."""
    places = await _places(connection, wanted.places)
    # As one text: the driver takes several times as long over a list.
    result = await connection.exec_driver_sql(_UUIDS, (",".join(map(str, wanted.uuids)),))
    uuids = {
        UUID(int=row.uuid.int): Stored(Content(row.topic, row.timestamp, row.message_crc32), row.sha256)
        for row in result
    }
    return Known(places, uuids, await _contents(connection, wanted.contents, rule))


async def _places(connection: AsyncConnection, wanted: Sequence[Place]) -> set[Place]:
    if not wanted:
        return set()
    asked = stretch(wanted)
    if asked is not None:
        result = await connection.exec_driver_sql(_STRETCH, tuple(asked))
        where = asked.cluster, asked.topic, asked.partition
        return {Place(*where, row.kafka_offset, row.timestamp) for row in result}
    result = await connection.exec_driver_sql(_PLACES, _columns(wanted))
    return {wanted[n - 1] for n in result.scalars()}


async def _contents(connection: AsyncConnection, wanted: Collection[Content], rule: Rule) -> set[Content]:
    if rule == "exact":
        topics = list({content.topic for content in wanted})
        if not (await connection.exec_driver_sql(_WITHOUT_PLACE, (topics,))).scalar_one():
            return set()
    listed = list(wanted)
    result = await connection.exec_driver_sql(_CONTENTS, (*_columns(listed), rule == "upstream"))
    return {listed[n - 1] for n in result.scalars()}


def _columns(listed: Sequence[msgspec.Struct]) -> tuple[list[Any], ...]:
    rows = [msgspec.structs.astuple(each) for each in listed]
    return tuple(map(list, zip(*rows, strict=True)))


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> set[UUID]:
    """Store rows and their topics' statistics; return the uuids of those that met no stored row.

    Rows go in the order of their places: serial numbers follow the partition, and of two writers that store
    the same messages one waits for the other, and never both for each other.
    """
    ordered = sorted(rows, key=_place)
    result = await connection.exec_driver_sql(_INSERT, _columns(ordered))
    return {UUID(int=uuid.int) for uuid in result.scalars()}


def _place(row: Row) -> tuple[str, int, int, UUID]:
    if row.kafka_partition is None or row.kafka_offset is None:
        return row.topic, -1, 0, row.uuid
    return row.topic, row.kafka_partition, row.kafka_offset, row.uuid


async def copy(connection: AsyncConnection, rows: Sequence[Row]) -> set[UUID]:
    """Store rows of which none is expected to meet a stored one; much faster than `insert`.

    When one does, the driver's error of a broken constraint is raised and the transaction is lost. The
    transaction must have begun: the driver knows nothing of one that has only been announced.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    chunks = await postgres_copy.chunks(rows)
    await driver.copy_to_table(
        "messages", source=_each(chunks), columns=Row.__struct_fields__, format="binary"
    )
    times: dict[str, list[int]] = {}
    for row in rows:
        times.setdefault(row.topic, []).append(row.timestamp)
    counts = list(times), list(map(min, times.values())), list(map(max, times.values()))
    await connection.exec_driver_sql(_COUNT, (*counts, list(map(len, times.values()))))
    return {row.uuid for row in rows}


async def _each(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
