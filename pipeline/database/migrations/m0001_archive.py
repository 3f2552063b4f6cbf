"""The archive's tables: made from nothing, or taken over from either generation of upstream's.

What is found is moved forward (archive contract, section 9): text uuids become uuids, missing columns and
indexes are added, statistics are filled. No column is dropped. Rows of the first generation that cannot
live under a unique uuid (a second row of the same uuid, an empty column, a uuid that is none) are moved
to the table `messages_set_aside`, complete and counted in a warning; their objects stay where they are.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.dialects import postgresql

from pipeline.database.columns import SERIAL, TEXT_INDEX, UtcTime, UuidColumn
from pipeline.errors import Conflict

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

log = structlog.get_logger(__name__)

_FIRST_GENERATION = (
    "id",
    "topic",
    "timestamp",
    "uuid",
    "size",
    "key",
    "bucket",
    "crc32",
    "is_client_uuid",
    "message_crc32",
)
"""The columns every archive has."""

_UUID_PATTERN = "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))


def upgrade() -> None:
    """Do this step, whatever of it exists already."""
    tables = set(sa.inspect(op.get_bind()).get_table_names())
    if "messages" in tables:
        _move_messages_forward()
    else:
        op.create_table(
            "messages",
            *_first_columns(),
            *_added_columns(),
            sa.UniqueConstraint("uuid", name="messages_uuid_idx"),
            sqlite_autoincrement=True,
        )
    _make_uuid_unique()
    _index_messages()
    _topics(exists="topics" in tables)
    _message_ts(exists="message_ts" in tables)


def _postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _first_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("uuid", UuidColumn, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("crc32", sa.BigInteger, nullable=False),
        sa.Column("is_client_uuid", sa.Boolean, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("direct_upload", sa.Boolean, nullable=False),
        sa.Column("message_crc32", sa.BigInteger, nullable=False),
    ]


def _added_columns() -> list[sa.Column[Any]]:
    """Give the columns that can be added to any table of messages: they have defaults or may be null."""
    words: list[sa.Column[Any]] = [
        sa.Column(name, sa.Text, nullable=False, server_default="")
        for name in ("title", "sender", "media_type", "file_name", "originator")
    ]
    return [
        *words,
        sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("kafka_partition", sa.Integer),
        sa.Column("kafka_offset", sa.BigInteger),
        sa.Column("cluster", sa.Text),
        sa.Column("ingested_at", UtcTime),
        sa.Column("sha256", sa.LargeBinary),
        sa.Column("layout", sa.SmallInteger, server_default=sa.text("2")),
        sa.Column("event_key", sa.Text),
    ]


def _move_messages_forward() -> None:
    found = {column["name"]: column for column in sa.inspect(op.get_bind()).get_columns("messages")}
    missing = [name for name in _FIRST_GENERATION if name not in found]
    if missing:
        raise Conflict(
            "migrate the database",
            f"its table messages is no archive's: no column {', '.join(missing)}",
            "name another database, or a schema of its own",
        )
    # Rows of the second generation are under a unique uuid already.
    first_generation = "public" not in found
    if first_generation:
        _set_aside()
    _add_missing(set(found))
    if first_generation:
        _tighten(uuid_is_text=isinstance(found["uuid"]["type"], sa.String))


def _set_aside() -> None:
    nothing = " OR ".join(f'm."{name}" IS NULL' for name in _FIRST_GENERATION)
    pattern = f"!~ '^{_UUID_PATTERN}$'" if _postgres() else f"NOT GLOB '{_UUID_PATTERN}'"
    text_uuid = "lower(CAST(uuid AS text))"
    misfit = (
        f"{nothing} OR lower(CAST(m.uuid AS text)) {pattern}"  # noqa: S608 -- no value of others in it
        f" OR m.id NOT IN (SELECT min(id) FROM messages GROUP BY {text_uuid})"
    )
    run = op.get_bind().exec_driver_sql
    count = run(f"SELECT count(*) FROM messages m WHERE {misfit}").scalar_one()  # noqa: S608
    if not count:
        return
    run(f"CREATE TABLE messages_set_aside AS SELECT m.* FROM messages m WHERE {misfit}")  # noqa: S608
    run("DELETE FROM messages WHERE id IS NULL OR id IN (SELECT id FROM messages_set_aside)")
    log.warning("rows moved out of the archive's table", rows=count, table="messages_set_aside")


def _add_missing(found: set[str]) -> None:
    # Nobody recorded whether the first generation's topics were public: its messages stay private until
    # the topic policy says otherwise.
    for name in ("public", "direct_upload"):
        if name not in found:
            op.add_column(
                "messages", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
            )
            if _postgres():
                op.alter_column("messages", name, server_default=None)
    for column in _added_columns():
        if column.name == "layout" and "layout" not in found:
            # The default is for rows to come: which layout old objects have is seen by reading them.
            op.add_column("messages", sa.Column("layout", sa.SmallInteger))
            if _postgres():
                op.alter_column("messages", "layout", server_default=sa.text("2"))
        elif column.name not in found:
            op.add_column("messages", column)


def _tighten(*, uuid_is_text: bool) -> None:
    if not _postgres():
        op.execute("UPDATE messages SET uuid = lower(uuid) WHERE uuid <> lower(uuid)")
        return
    if uuid_is_text:
        op.alter_column("messages", "uuid", type_=postgresql.UUID(), postgresql_using="uuid::uuid")
    for name in _FIRST_GENERATION:
        op.alter_column("messages", name, nullable=False)
    if not sa.inspect(op.get_bind()).get_pk_constraint("messages")["constrained_columns"]:
        op.create_primary_key("messages_pkey", "messages", ["id"])


def _make_uuid_unique() -> None:
    inspector = sa.inspect(op.get_bind())
    if any(c["column_names"] == ["uuid"] for c in inspector.get_unique_constraints("messages")):
        return
    unique = [i for i in inspector.get_indexes("messages") if i["column_names"] == ["uuid"] and i["unique"]]
    if not _postgres():
        # SQLite adds no constraint to an existing table; a unique index does the same there.
        if not unique:
            op.create_index("messages_uuid_idx", "messages", ["uuid"], unique=True)
    elif unique:
        # Upstream names the constraint in its statements; an index alone would not do.
        index = unique[0]["name"]
        op.execute(f'ALTER TABLE messages ADD CONSTRAINT messages_uuid_idx UNIQUE USING INDEX "{index}"')
    else:
        op.create_unique_constraint("messages_uuid_idx", "messages", ["uuid"])


def _index_messages() -> None:
    _index("messages_key_idx", "messages", "key")
    _index("messages_timestamp_idx", "messages", "timestamp")
    _index("messages_timestamp_id_idx", "messages", "timestamp", "id", include=("topic", "public"))
    _index("messages_topic_idx", "messages", "topic")
    _index("messages_content_idx", "messages", "topic", "timestamp", "message_crc32")
    _index("messages_event_key_idx", "messages", "event_key")
    op.execute(
        "CREATE UNIQUE INDEX IF NOT EXISTS messages_place_idx ON messages"
        " (coalesce(cluster, ''), topic, kafka_partition, kafka_offset, \"timestamp\")"
        " WHERE kafka_offset IS NOT NULL"
    )


def _index(name: str, table: str, *columns: str, include: tuple[str, ...] = ()) -> None:
    """Make an index unless one over the same columns exists under whatever name."""
    found = sa.inspect(op.get_bind()).get_indexes(table)
    if not any(index["column_names"] == list(columns) for index in found):
        op.create_index(name, table, list(columns), postgresql_include=list(include))


def _topics(*, exists: bool) -> None:
    if not exists:
        op.create_table(
            "topics",
            sa.Column("topic", sa.Text),
            sa.Column("e_timestamp", sa.BigInteger),
            sa.Column("l_timestamp", sa.BigInteger),
            sa.Column("n_messages", sa.BigInteger),
            sa.UniqueConstraint("topic", name="topics_topic_key"),
        )
    op.execute(
        "INSERT INTO topics (topic, e_timestamp, l_timestamp, n_messages)"
        ' SELECT topic, min("timestamp"), max("timestamp"), count(*) FROM messages'
        " WHERE NOT EXISTS (SELECT 1 FROM topics) GROUP BY topic"
    )


def _message_ts(*, exists: bool) -> None:
    if not exists:
        op.create_table(
            "message_ts",
            sa.Column("uuid", UuidColumn, sa.ForeignKey("messages.uuid", ondelete="CASCADE")),
            sa.Column("text_data", TEXT_INDEX),
            sa.Column("text_fully_indexed", sa.Boolean),
        )
    _index("message_ts_uuid_idx", "message_ts", "uuid")
    if _postgres():
        found = sa.inspect(op.get_bind()).get_indexes("message_ts")
        if not any(index["column_names"] == ["text_data"] for index in found):
            op.create_index("message_ts_text_data_idx", "message_ts", ["text_data"], postgresql_using="gin")
