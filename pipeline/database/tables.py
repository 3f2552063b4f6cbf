"""Every table, as the newest migration leaves it (archive contract, section 9).

The archive's tables are those of upstream's second generation with its names and types, so that its
library and web service keep working on our database, plus columns of ours that are all nullable:

* where the message stood in Kafka (`kafka_partition`, `kafka_offset`, `cluster`), when it was archived
  (`ingested_at`), the SHA-256 of its payload and the `layout` of its object;
* `event_key`: the Kafka record key as text when it is UTF-8 without NUL and not longer than
  `limits_archive.EVENT_KEY_MAX_BYTES`, indexed. Headrace's own events carry their id there, so
  an event is found by its id without reading objects.

`pipeline/database/migrations` makes them; a test compares both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)

from pipeline.database.columns import SERIAL, TEXT_INDEX, UtcTime, UuidColumn

METADATA = MetaData()


def _words(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


messages = Table(
    "messages",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("uuid", UuidColumn, nullable=False),
    Column("size", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("crc32", BigInteger, nullable=False),
    Column("is_client_uuid", Boolean, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("direct_upload", Boolean, nullable=False),
    Column("message_crc32", BigInteger, nullable=False),
    _words("title"),
    _words("sender"),
    _words("media_type"),
    _words("file_name"),
    _words("originator"),
    Column("retracted", Boolean, nullable=False, server_default=false()),
    Column("kafka_partition", Integer),
    Column("kafka_offset", BigInteger),
    Column("cluster", Text),
    Column("ingested_at", UtcTime),
    Column("sha256", LargeBinary),
    Column("layout", SmallInteger, server_default=text("2")),
    Column("event_key", Text),
    Column("pack_offset", BigInteger),
    UniqueConstraint("uuid", name="messages_uuid_idx"),
    sqlite_autoincrement=True,
)
"""One row a message. `key` and `bucket` say where its object is.

`size` and `crc32` are of its BSON document, which is the whole object where `pack_offset` is null, and
else begins there in a pack of many.
"""

Index("messages_key_idx", messages.c.key)
Index("messages_timestamp_idx", messages.c.timestamp)
Index(
    "messages_timestamp_id_idx",
    messages.c.timestamp,
    messages.c.id,
    postgresql_include=["topic", "public"],
)
Index("messages_topic_idx", messages.c.topic)
Index("messages_content_idx", messages.c.topic, messages.c.timestamp, messages.c.message_crc32)
Index("messages_event_key_idx", messages.c.event_key)
Index(
    "messages_place_idx",
    func.coalesce(messages.c.cluster, text("''")),
    messages.c.topic,
    messages.c.kafka_partition,
    messages.c.kafka_offset,
    messages.c.timestamp,
    unique=True,
    postgresql_where=messages.c.kafka_offset.is_not(None),
    sqlite_where=messages.c.kafka_offset.is_not(None),
)

Index(
    "messages_without_place_idx",
    messages.c.topic,
    messages.c.timestamp,
    messages.c.message_crc32,
    postgresql_where=messages.c.kafka_offset.is_(None),
    sqlite_where=messages.c.kafka_offset.is_(None),
)

topics = Table(
    "topics",
    METADATA,
    Column("topic", Text),
    Column("e_timestamp", BigInteger),
    Column("l_timestamp", BigInteger),
    Column("n_messages", BigInteger),
    UniqueConstraint("topic", name="topics_topic_key"),
)
"""Statistics of a topic: earliest and latest time in ms, number of messages."""

message_ts = Table(
    "message_ts",
    METADATA,
    Column("uuid", UuidColumn, ForeignKey("messages.uuid", ondelete="CASCADE")),
    Column("text_data", TEXT_INDEX),
    Column("text_fully_indexed", Boolean),
)
"""Searchable text of a message, derived from its object."""

Index("message_ts_uuid_key", message_ts.c.uuid, unique=True)
Index("message_ts_text_data_idx", message_ts.c.text_data, postgresql_using="gin").ddl_if("postgresql")

archive_packs = Table(
    "archive_packs",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("kafka_partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("ingest_time", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("n_messages", Integer),
    Column("size", BigInteger),
    Column("crc32", BigInteger),
    UniqueConstraint(
        "cluster", "topic", "kafka_partition", "first_offset", "timestamp", name="archive_packs_place_key"
    ),
    UniqueConstraint("key", name="archive_packs_key_key"),
    sqlite_autoincrement=True,
)
"""One row a pack: its manifest, written before the object.

`first_offset` and `last_offset` are the boundaries, both included; `timestamp` is the first message's,
which tells the offsets of a topic that was made anew from those before; `ingest_time` (ms) is in every
message. `n_messages`, `size` and `crc32` are null until the object is durable.
"""

Index(
    "archive_packs_unfinished_idx",
    archive_packs.c.cluster,
    archive_packs.c.topic,
    archive_packs.c.kafka_partition,
    postgresql_where=archive_packs.c.n_messages.is_(None),
    sqlite_where=archive_packs.c.n_messages.is_(None),
)

archive_parked = Table(
    "archive_parked",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("kafka_partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("parked_at", UtcTime, nullable=False),
)
"""One row a message the archive could not store: where it stood, where its value lies, and why."""
