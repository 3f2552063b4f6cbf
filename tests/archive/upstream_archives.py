"""Upstream's databases as they are found: the tables of both generations, with rows in them."""

from __future__ import annotations

FIRST = """
CREATE TABLE messages (id {serial}, topic text, timestamp bigint, uuid text, size integer, key text,
    bucket text, crc32 bigint, is_client_uuid boolean, message_crc32 bigint);
CREATE INDEX timestamp_idx ON messages (timestamp);
CREATE INDEX topic_idx ON messages (topic);
CREATE INDEX key_idx ON messages (key);
CREATE INDEX uuid_idx ON messages (uuid);
CREATE TABLE message_data (id {serial}, uuid text, field_name text, field_value text);
INSERT INTO message_data (uuid, field_name, field_value) VALUES ('x', 'ra', '1.5');
INSERT INTO messages (topic, timestamp, uuid, size, key, bucket, crc32, is_client_uuid,
    message_crc32) VALUES
    ('t1', 1000, '01234567-89AB-4cde-8f01-23456789abcd', 10, 'k1', 'b', 4294967295, true, 1),
    ('t1', 3000, '11234567-89ab-4cde-8f01-23456789abcd', 20, 'k2', 'b', 2, false, 2),
    ('t2', 2000, '21234567-89ab-4cde-8f01-23456789abcd', 30, 'k3', 'b', 3, false, 3);
"""

FIRST_MISFITS = """
INSERT INTO messages (topic, timestamp, uuid, size, key, bucket, crc32, is_client_uuid,
    message_crc32) VALUES
    ('t1', 1000, '01234567-89ab-4cde-8f01-23456789abcd', 10, 'k1', 'b', 1, true, 1),
    ('t1', 5000, 'no uuid at all', 10, 'k4', 'b', 1, true, 1),
    (NULL, 5000, '31234567-89ab-4cde-8f01-23456789abcd', 10, 'k5', 'b', 1, true, 1),
    ('t1', 5000, NULL, 10, 'k6', 'b', 1, true, 1);
"""

SECOND = """
CREATE TABLE messages (id {serial_key}, topic text NOT NULL, timestamp bigint NOT NULL,
    uuid {uuid} NOT NULL, size integer NOT NULL, key text NOT NULL, bucket text NOT NULL,
    crc32 bigint NOT NULL, is_client_uuid boolean NOT NULL, public boolean NOT NULL,
    direct_upload boolean NOT NULL, message_crc32 bigint NOT NULL, title text NOT NULL DEFAULT '',
    sender text NOT NULL DEFAULT '', media_type text NOT NULL DEFAULT '',
    file_name text NOT NULL DEFAULT '',
    originator text NOT NULL DEFAULT '', retracted boolean NOT NULL DEFAULT false,
    CONSTRAINT messages_uuid_idx UNIQUE (uuid));
CREATE INDEX key_idx ON messages (key);
CREATE INDEX timestamp_idx ON messages (timestamp);
CREATE INDEX timestamp_id_idx ON messages (timestamp, id) {include};
CREATE INDEX topic_idx ON messages (topic);
CREATE TABLE topics (topic text UNIQUE, e_timestamp bigint, l_timestamp bigint, n_messages bigint);
CREATE TABLE message_ts (uuid {uuid} REFERENCES messages (uuid) ON DELETE CASCADE, text_data {text_index},
    text_fully_indexed boolean);
INSERT INTO messages (topic, timestamp, uuid, size, key, bucket, crc32, is_client_uuid, public,
    direct_upload, message_crc32, title) VALUES
    ('t1', 1000, '01234567-89ab-4cde-8f01-23456789abcd', 10, 'k1', 'b', 4294967295, true, true, false,
        1, 'T'),
    ('t2', 2000, '11234567-89ab-4cde-8f01-23456789abcd', 20, 'k2', 'b', 2, false, false, true, 2, '');
INSERT INTO topics VALUES ('t1', 1000, 1000, 1), ('t2', 2000, 2000, 1);
INSERT INTO message_ts (uuid, text_data, text_fully_indexed)
    VALUES ('01234567-89ab-4cde-8f01-23456789abcd', 'word', true);
"""

SECOND_ON_POSTGRES = [
    "CREATE INDEX text_data_idx ON message_ts USING gin (text_data)",
    """
CREATE FUNCTION update_topics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO topics VALUES (NEW.topic, NEW.timestamp, NEW.timestamp, 1)
        ON CONFLICT (topic) DO UPDATE SET e_timestamp = least(topics.e_timestamp, NEW.timestamp),
            l_timestamp = greatest(topics.l_timestamp, NEW.timestamp), n_messages = topics.n_messages + 1;
    ELSE
        UPDATE topics SET n_messages = n_messages - 1 WHERE topic = OLD.topic;
    END IF;
    RETURN NULL;
END $$""",
    """
CREATE TRIGGER trigger_update_topics AFTER INSERT OR DELETE ON messages
    FOR EACH ROW EXECUTE FUNCTION update_topics()""",
]

_WORDS = {
    "postgresql": {
        "serial": "bigserial",
        "serial_key": "bigserial PRIMARY KEY",
        "uuid": "uuid",
        "text_index": "tsvector",
        "include": "INCLUDE (topic, public)",
    },
    "sqlite": {
        "serial": "integer PRIMARY KEY",
        "serial_key": "integer PRIMARY KEY",
        "uuid": "text",
        "text_index": "text",
        "include": "",
    },
}


def first_generation(kind: str, *, misfits: bool = False) -> list[str]:
    """Give the statements that make a database of the first generation."""
    return _statements(FIRST + FIRST_MISFITS * misfits, kind)


def second_generation(kind: str) -> list[str]:
    """Give the statements that make a database of the second generation, with its trigger."""
    return _statements(SECOND, kind) + (SECOND_ON_POSTGRES if kind == "postgresql" else [])


def _statements(script: str, kind: str) -> list[str]:
    return [each for each in script.format(**_WORDS[kind]).split(";\n") if each.strip()]
