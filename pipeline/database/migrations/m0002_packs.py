"""The archive's second layout and what belongs to it: packs, messages set aside, one text a message.

`messages.pack_offset` says where a message begins inside an object that holds many; it is null where the
object is the message, as in every archive made before. `message_ts` gets its uuid unique, since a message
indexed twice was found twice; SQLite gets its full-text index beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pipeline.database.columns import SERIAL, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do this step."""
    op.add_column("messages", sa.Column("pack_offset", sa.BigInteger))
    _without_place()
    _packs()
    _parked()
    _texts()


def _without_place() -> None:
    # Whether a topic has messages that never stood in a log is asked for every batch of it.
    op.execute(
        'CREATE INDEX messages_without_place_idx ON messages (topic, "timestamp", message_crc32)'
        " WHERE kafka_offset IS NULL"
    )


def _packs() -> None:
    op.create_table(
        "archive_packs",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("kafka_partition", sa.Integer, nullable=False),
        sa.Column("first_offset", sa.BigInteger, nullable=False),
        sa.Column("last_offset", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("ingest_time", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("n_messages", sa.Integer),
        sa.Column("size", sa.BigInteger),
        sa.Column("crc32", sa.BigInteger),
        sa.UniqueConstraint(
            "cluster",
            "topic",
            "kafka_partition",
            "first_offset",
            "timestamp",
            name="archive_packs_place_key",
        ),
        sa.UniqueConstraint("key", name="archive_packs_key_key"),
        sqlite_autoincrement=True,
    )

    # There are few, and they are looked for with every pack.
    op.execute(
        "CREATE INDEX archive_packs_unfinished_idx ON archive_packs (cluster, topic, kafka_partition)"
        " WHERE n_messages IS NULL"
    )


def _parked() -> None:
    op.create_table(
        "archive_parked",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("kafka_partition", sa.Integer, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("parked_at", UtcTime, nullable=False),
    )


def _texts() -> None:
    bind = op.get_bind()
    row = "ctid" if bind.dialect.name == "postgresql" else "rowid"
    op.execute(
        "DELETE FROM message_ts WHERE EXISTS (SELECT 1 FROM message_ts other"  # noqa: S608 -- names of ours
        f" WHERE other.uuid = message_ts.uuid AND other.{row} > message_ts.{row})"
    )
    # The index there was is not needed beside the unique one.
    op.execute("DROP INDEX IF EXISTS message_ts_uuid_idx")
    if bind.dialect.name == "postgresql":
        op.create_index("message_ts_uuid_key", "message_ts", ["uuid"], unique=True)
        return
    for statement in _WORDS:
        op.execute(statement)


_REMOVE = (
    "INSERT INTO message_words (message_words, rowid, text_data)"
    " VALUES ('delete', old.words_id, old.text_data);"
)
_ADD = "INSERT INTO message_words (rowid, text_data) VALUES (new.words_id, new.text_data);"
_WORDS = (
    # VACUUM may change row ids that no column keeps (SQLite, "ROWIDs and the INTEGER PRIMARY KEY").
    "ALTER TABLE message_ts RENAME TO message_ts_before",
    (
        "CREATE TABLE message_ts (words_id INTEGER PRIMARY KEY, uuid TEXT, text_data TEXT,"
        " text_fully_indexed BOOLEAN, FOREIGN KEY(uuid) REFERENCES messages (uuid) ON DELETE CASCADE)"
    ),
    (
        "INSERT INTO message_ts (uuid, text_data, text_fully_indexed)"
        " SELECT uuid, text_data, text_fully_indexed FROM message_ts_before"
    ),
    "DROP TABLE message_ts_before",
    "CREATE UNIQUE INDEX message_ts_uuid_key ON message_ts (uuid)",
    (
        "CREATE VIRTUAL TABLE message_words USING fts5(text_data, content='message_ts',"
        " content_rowid='words_id', tokenize='porter unicode61')"
    ),
    f"CREATE TRIGGER message_ts_added AFTER INSERT ON message_ts BEGIN {_ADD} END",
    f"CREATE TRIGGER message_ts_removed AFTER DELETE ON message_ts BEGIN {_REMOVE} END",
    f"CREATE TRIGGER message_ts_changed AFTER UPDATE ON message_ts BEGIN {_REMOVE} {_ADD} END",
    "INSERT INTO message_words (message_words) VALUES ('rebuild')",
)
"""A full-text index that stores no text of its own, and what keeps it in step (SQLite, FTS5, 4.4.3)."""
