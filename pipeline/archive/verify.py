"""Read a stored message back and compare it with what was received (archive contract, section 12)."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from pipeline.archive import lookup
from pipeline.archive.bson import Document
from pipeline.archive.message import Message
from pipeline.database.engine import Database
from pipeline.errors import Damaged, NotFound
from pipeline.objects.port import ObjectStore


async def verify_message(objects: ObjectStore, database: Database, message: Message, uuid: UUID) -> None:
    """Return when the row of the uuid and its object hold exactly the message.

    Raises:
        Damaged: They do not, or one is missing; the error names the uuid and the field.
        Unavailable: The store or the database does not answer.
    """
    row = await lookup.by_uuid(database, uuid)
    if row is None:
        raise _mismatch(uuid, "row", "there is none")
    _equal(uuid, "topic of the row", row.topic, message.topic)
    _equal(uuid, "timestamp of the row", row.timestamp, message.timestamp_ms)
    try:
        found = await lookup.read_message(objects, row)
    except (NotFound, Damaged) as error:
        raise _mismatch(uuid, "object", str(error)) from error
    _equal(uuid, "topic", found.topic, message.topic)
    _equal(uuid, "timestamp", found.timestamp_ms, message.timestamp_ms)
    _equal(uuid, "key", found.key, message.key)
    _compare_headers(uuid, found, message)
    if found.value != message.value:
        raise _mismatch(uuid, "payload", "it is not the one received")


def _compare_headers(uuid: UUID, found: Document, message: Message) -> None:
    received = Counter(message.headers or ())
    added = list(found.annotations.get("added_headers", ()))
    kept = Counter(found.headers or ())
    _equal(uuid, "number of headers", kept.total(), received.total() + len(added))
    for name, _ in received - kept:
        raise _mismatch(uuid, f"header {name}", "its received value is missing")


def _equal(uuid: UUID, field: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise _mismatch(uuid, field, f"{found!r}, received {wanted!r}")


def _mismatch(uuid: UUID, field: str, why: str) -> Damaged:
    return Damaged(f"verify archived message {uuid}, {field}", why)
