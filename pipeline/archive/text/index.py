"""The index by which archived messages are found by their text: written with them, and again later.

A message has one text at most, however often it is indexed (`message_ts`, archive contract, section 9).
`reindex` gives a text to messages that have none, as far as their topics are searched (section 15.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive import bson
from pipeline.archive.annotations import MediaTypes
from pipeline.archive.archive import Archive
from pipeline.archive.documents import read_documents
from pipeline.archive.headers import read as read_headers
from pipeline.archive.lookup import COLUMNS, ArchivedRow
from pipeline.archive.media_types import media_types_of
from pipeline.archive.message import Message
from pipeline.archive.source.policy import OVERSIZED
from pipeline.archive.source.topic_set import matching
from pipeline.archive.text.text import Text, Texts
from pipeline.database.tables import message_ts, messages, topics
from pipeline.errors import Damaged

log = structlog.get_logger(__name__)

_ON_POSTGRES = """
INSERT INTO message_ts (uuid, text_data, text_fully_indexed)
SELECT given.uuid, to_tsvector(given.text), given.fully
FROM unnest($1::uuid[], $2::text[], $3::boolean[]) AS given (uuid, text, fully)
JOIN messages ON messages.uuid = given.uuid
ORDER BY given.uuid FOR KEY SHARE OF messages
ON CONFLICT (uuid) DO UPDATE SET
    text_data = excluded.text_data, text_fully_indexed = excluded.text_fully_indexed
"""
_ON_SQLITE = """
INSERT INTO message_ts (uuid, text_data, text_fully_indexed)
SELECT given.uuid, given.text, given.fully FROM (SELECT ? AS uuid, ? AS text, ? AS fully) AS given
JOIN messages ON messages.uuid = given.uuid
WHERE true
ON CONFLICT (uuid) DO UPDATE SET
    text_data = excluded.text_data, text_fully_indexed = excluded.text_fully_indexed
"""


class IndexedText(NamedTuple):
    """The text of a stored message."""

    uuid: UUID
    text: Text


async def insert_texts(
    connection: AsyncConnection, kind: Literal["postgresql", "sqlite"], texts: Sequence[IndexedText]
) -> None:
    """Store texts in the caller's transaction, in place of those the messages have.

    The rows of the messages come first, in the same transaction or before; a text without one is left
    out. No message may occur twice. Several thousand at once are fine.
    """
    if not texts:
        return
    if kind == "sqlite":
        rows = [(str(each.uuid), *each.text) for each in texts]
        await connection.exec_driver_sql(_ON_SQLITE, rows)
        return
    columns = (
        [each.uuid for each in texts],
        [each.text.text for each in texts],
        [each.text.fully for each in texts],
    )
    await connection.exec_driver_sql(_ON_POSTGRES, columns)


class Reindexed(msgspec.Struct):
    """How far indexing anew has come."""

    looked_at: int = 0
    """Messages without a text, or without a full one, that were read."""
    indexed: int = 0
    """Those that have a text now."""
    fully: int = 0
    """Those of them whose text is all there is."""
    damaged: int = 0
    """Those whose object is missing or not what its row says; each is logged."""


async def reindex(
    archive: Archive,
    texts: Texts,
    media_types: MediaTypes,
    *,
    start_time_ms: int | None = None,
    partial: bool = False,
    only_topics: Iterable[str] = (),
    progress: Callable[[Reindexed], None] = lambda _: None,
) -> Reindexed:
    """Give a text to stored messages that have none, and return how many there were.

    Only messages of topics whose texts are searched are looked at. A run that was stopped goes on when it
    is started again, since what it has done needs no second look. Objects stay as they are.

    Args:
        archive: What to go through.
        texts: Finds the texts.
        media_types: Asked about messages that were archived without a media type.
        start_time_ms: Leaves out messages older than that.
        partial: Whether to look again at messages whose text is not all there is.
        only_topics: Globs; leaves out all topics but those they match and their oversized messages. Empty
            for none left out.
        progress: Told now and then how far it has come.

    Raises:
        Unavailable: The database, the store or the parser does not answer.
    """
    report = Reindexed()
    chosen = await _searched(archive, texts, tuple(only_topics))
    if not chosen:
        return report
    wanted = [messages.c.topic.in_(chosen), _without_text(partial=partial)]
    if start_time_ms is not None:
        wanted.append(messages.c.timestamp >= start_time_ms)
    window = await _window(archive, 0)
    while window is not None:
        for rows in _portions(await _rows(archive, *window, wanted)):
            await _index(archive, texts, media_types, rows, report)
        progress(report)
        window = await _window(archive, window[1])
    return report


async def _searched(archive: Archive, texts: Texts, only: tuple[str, ...]) -> list[str]:
    async def ask(connection: AsyncConnection) -> Sequence[str]:
        return (await connection.execute(select(topics.c.topic))).scalars().all()

    stored = await archive.database.read("list archived topics", ask)
    return [
        topic
        for topic in stored
        if texts.wanted(topic) and (not only or matching(only, (topic, topic.removesuffix(OVERSIZED))))
    ]


def _without_text(*, partial: bool) -> ColumnElement[bool]:
    found = select(message_ts.c.uuid).where(message_ts.c.uuid == messages.c.uuid)
    return ~exists(found.where(message_ts.c.text_fully_indexed) if partial else found)


async def _window(archive: Archive, after: int) -> tuple[int, int] | None:
    """Give the serial numbers between which the next messages lie, None behind the last one.

    Rows are looked at window by window, so that no query has to pass over all that have a text already.
    """
    ids = select(messages.c.id).where(messages.c.id > after).order_by(messages.c.id)
    some = ids.limit(limits_archive.REINDEX_BATCH_MESSAGES).subquery()

    async def ask(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(func.max(some.c.id)))).scalar_one()

    last = await archive.database.read("find messages to index", ask)
    return None if last is None else (after, last)


async def _rows(
    archive: Archive, after: int, last: int, wanted: Sequence[ColumnElement[bool]]
) -> list[ArchivedRow]:
    between = messages.c.id.between(after + 1, last)
    query = select(*COLUMNS).where(between, *wanted).order_by(messages.c.id)

    async def ask(connection: AsyncConnection) -> Sequence[Any]:
        return (await connection.execute(query)).all()

    return [ArchivedRow(*row) for row in await archive.database.read("list messages to index", ask)]


def _portions(rows: Iterable[ArchivedRow]) -> Iterator[list[ArchivedRow]]:
    """Cut rows into what is read at once: so many bytes, or a single larger object."""
    portion: list[ArchivedRow] = []
    size_bytes = 0
    for row in rows:
        if portion and size_bytes + row.size > limits_archive.REINDEX_READ_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(row)
        size_bytes += row.size
    if portion:
        yield portion


async def _index(
    archive: Archive, texts: Texts, media_types: MediaTypes, rows: Sequence[ArchivedRow], report: Reindexed
) -> None:
    data = await read_documents(archive.objects, rows)
    found = await asyncio.to_thread(_decoded, data)
    documents = list(found.values())
    stored = [_message(document) for document in documents]
    types = await _types(documents, stored, media_types)
    pairs = zip(found, await texts.of(stored, types), strict=True)
    indexed = [IndexedText(uuid, text) for uuid, text in pairs if text is not None]

    async def write(connection: AsyncConnection) -> None:
        await insert_texts(connection, archive.database.kind, indexed)

    await archive.database.write("store texts", write)
    report.looked_at += len(rows)
    report.indexed += len(indexed)
    report.fully += sum(each.text.fully for each in indexed)
    report.damaged += len(rows) - len(found)


def _decoded(data: Mapping[UUID, bytes]) -> dict[UUID, bson.Document]:
    found = {}
    for uuid, document in data.items():
        try:
            found[uuid] = bson.decode(document)
        except Damaged as error:
            log.warning("message not indexed", uuid=str(uuid), reason=str(error))
    return found


def _message(document: bson.Document) -> Message:
    """Give the message an object holds, with the format an object of layout 1 names as its header."""
    headers = document.headers or ()
    if document.label is not None and not any(name == "_format" for name, _ in headers):
        headers = (*headers, ("_format", document.label.encode()))
    return Message(document.topic, None, None, document.timestamp_ms, None, document.payload, headers)


async def _types(
    documents: Sequence[bson.Document], stored: Sequence[Message], media_types: MediaTypes
) -> list[str]:
    """Give the media types as archived; objects of older archives do not say theirs."""
    known = [document.annotations.get("media_type", "") for document in documents]
    silent = [message for message, name in zip(stored, known, strict=True) if not name]
    named = [read_headers(message.headers).media_type for message in silent]
    told = iter(await media_types_of(silent, named, media_types))
    return [name or next(told) for name in known]
