"""Events: one by its place on the log, or all the archive kept under its id."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from pipeline import limits
from pipeline.app import Parts
from pipeline.archive import lookup
from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import BadInput, Damaged, NotFound, Unavailable
from pipeline.log.port import Headers, Record, TopicPartition
from pipeline.web.answers import answer
from pipeline.web.context import parts_of
from pipeline.web.routes import Nothing, Route, asked

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class Header(msgspec.Struct, frozen=True):
    """A header; bytes that are no text come as base64."""

    name: str
    text: str | None
    base64: str | None


class Event(msgspec.Struct, frozen=True):
    """A record of the log. Exactly one of `event` and `base64` is set, neither for a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    headers: list[Header]
    event: msgspec.Raw | None
    """The value, when it is JSON."""
    base64: str | None
    """The value, when it is not."""


class ArchivedEvent(msgspec.Struct, frozen=True):
    """One row of the archive."""

    topic: str
    partition: int | None
    offset: int | None
    timestamp_ms: int
    uuid: str
    key: str
    """Key of its object."""
    size_bytes: int


class Events(msgspec.Struct, frozen=True):
    """Everything the archive kept under one id, oldest first, and the newest event itself."""

    id: str
    rows: list[ArchivedEvent]
    event: msgspec.Raw | None
    """None when its object cannot be read; `why` says why."""
    why: str = ""


def shown_value(value: bytes | None) -> tuple[msgspec.Raw | None, str | None]:
    """Return a value as JSON if it is JSON, else as base64."""
    if value is None:
        return None, None
    with suppress(msgspec.DecodeError, RecursionError):
        msgspec.json.decode(value)
        return msgspec.Raw(value), None
    return None, base64.b64encode(value).decode()


def shown_text(value: bytes | None) -> tuple[str | None, str | None]:
    """Return bytes as text if they are UTF-8, else as base64."""
    if value is None:
        return None, None
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(value).decode()


def shown_headers(headers: Headers) -> list[Header]:
    """Return headers in their order."""
    return [Header(name, *shown_text(value)) for name, value in headers]


def shown(record: Record) -> Event:
    """Return a record as JSON holds it."""
    event, raw = shown_value(record.value)
    text, encoded = shown_text(record.key)
    return Event(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        text if encoded is None else encoded,
        shown_headers(record.headers),
        event,
        raw,
    )


async def read_record(parts: Parts, topic: str, partition: int, offset: int) -> Record:
    """Read one record of the log.

    Raises:
        NotFound: There is no such topic, partition or offset, or it was removed by retention.
        Unavailable: The log does not answer in time.
    """
    tried = f"read {topic}[{partition}] at offset {offset}"
    count = (await parts.log.topics()).get(topic, 0)
    if partition >= count:
        raise NotFound(tried, "there is no such partition", "GET /api/topics lists what there is")
    place = TopicPartition(topic, partition)
    bounds = (await parts.log.bounds([place]))[place]
    if not bounds.start <= offset < bounds.end:
        raise NotFound(tried, f"it holds offsets {bounds.start} to {bounds.end - 1}")
    reader = parts.log.reader({place: offset})
    try:
        records = await reader.read(max_records=1, wait_seconds=limits.LOG_CALL_TIMEOUT_SECONDS)
        position = reader.positions()[place]
    finally:
        await reader.close()
    if records and records[0].offset == offset:
        return records[0]
    if position <= offset:
        raise Unavailable(tried, f"it did not come within {limits.LOG_CALL_TIMEOUT_SECONDS:g} s")
    raise NotFound(tried, "compaction removed it; a newer record has its key")


async def get_by_place(request: web.Request) -> web.Response:
    """Answer the record at a place."""
    asked(request, Nothing)
    topic = request.match_info["topic"]
    if not _TOPIC.fullmatch(topic):
        raise BadInput("read the path", f"{topic[:80]!r} is no name of a topic")
    partition, offset = (_number(request, name) for name in ("partition", "offset"))
    return answer(shown(await read_record(parts_of(request), topic, partition, offset)))


async def get_by_key(request: web.Request) -> web.Response:
    """Answer what the archive kept under an id."""
    asked(request, Nothing)
    key = request.match_info["key"]
    if not _KEY.fullmatch(key):
        raise BadInput("read the path", f"{key[:80]!r} is not the 32 hexadecimal digits of an event's id")
    parts = parts_of(request)
    rows = await lookup.by_event_key(parts.database, key)
    if not rows:
        raise NotFound(f"find event {key}", "the archive has no row of it", "it may come a moment late")
    event, why = None, ""
    try:
        message = await lookup.read_message(parts.archived, rows[-1])
        event, _ = shown_value(message.value)
    except (NotFound, Damaged) as error:
        why = str(error)
    return answer(Events(key, [archived(row) for row in rows], event, why))


def archived(row: ArchivedRow) -> ArchivedEvent:
    """Return the part of a row that says where the message stood and where it is now."""
    return ArchivedEvent(
        row.topic, row.kafka_partition, row.kafka_offset, row.timestamp, str(row.uuid), row.key, row.size
    )


def _number(request: web.Request, name: str) -> int:
    text = request.match_info[name]
    if not _NUMBER.fullmatch(text):
        raise BadInput("read the path", f"{name} {text[:40]!r} is not a number")
    return int(text)


_SHARED: dict[str, Any] = {"methods": ("GET",), "tag": "events", "errors": (400, 404, 503)}

ROUTES = (
    Route(
        path="/api/events/{topic}/{partition}/{offset}",
        handler=get_by_place,
        summary="One record of the log",
        answer=Event,
        **_SHARED,
    ),
    Route(
        path="/api/events/{key}",
        handler=get_by_key,
        summary="What the archive kept under an event's id",
        answer=Events,
        **_SHARED,
    ),
)
