"""The life line of one file or event: everything in every part that knows it.

A file is asked for by any of its hashes, an event or task by its id. What is found is stated as it is; what
could not be looked at to the end is said in the remarks, so that a missing line is never taken for proof.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.archive import lookup
from pipeline.errors import BadInput, NotFound, Unavailable
from pipeline.index.query import Family, Or, Query, Sort, Term
from pipeline.log.port import Record
from pipeline.objects.keys import is_sha256
from pipeline.web.copies import Copy, copies_of, documents_of
from pipeline.web.events import ArchivedEvent, archived, shown_text
from pipeline.web.logscan import Scanned, scan
from pipeline.web.scope import own_topics
from pipeline.web.tables import Tables

T = TypeVar("T")
Kind = Literal["sha256", "sha1", "md5 or event", "id"]

_HASH = re.compile(r"[0-9a-f]+", re.ASCII)
_FIELDS: Mapping[int, tuple[str, Kind]] = {
    32: ("md5", "md5 or event"),
    40: ("sha1", "sha1"),
    64: ("sha256", "sha256"),
}
_ID_MIN, _ID_MAX = 8, 1024
_OBJECTS_MAX = 20
_KEYS_MAX = 200


class Asked(NamedTuple):
    """What was asked for, and how it is to be read."""

    text: str
    kind: Kind
    field: str | None
    """The field of documents that holds such a hash."""


class RecordSeen(msgspec.Struct, frozen=True):
    """A record that knows it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    what: str
    """In short: action or state, and by whom."""


class EntrySeen(msgspec.Struct, frozen=True):
    """An entry of a table that knows it."""

    table: str
    key: str
    value: msgspec.Raw


class DocumentSeen(msgspec.Struct, frozen=True):
    """A document about it."""

    family: Family
    id: str
    what: str


class LifeLine(msgspec.Struct, frozen=True):
    """Everything that knows one file or event."""

    asked: str
    kind: Kind
    objects_meant: list[str]
    """SHA-256 of the files that are meant."""
    records: list[RecordSeen]
    records_read: int
    entries: list[EntrySeen]
    objects: list[Copy]
    rows: list[ArchivedEvent]
    documents: list[DocumentSeen]
    remarks: list[str]
    """What could not be looked at to its end, and why."""


def read_identity(text: str) -> Asked:
    """Tell a hash from an id.

    Raises:
        BadInput: It can be neither.
    """
    lower = text.lower()
    if _HASH.fullmatch(lower) and len(lower) in _FIELDS:
        field, kind = _FIELDS[len(lower)]
        return Asked(lower, kind, field)
    if not _ID_MIN <= len(text) <= _ID_MAX or not text.isprintable():
        raise BadInput(
            f"look for {text[:100]!r}",
            "it is neither a hash nor an id",
            "give an MD5, SHA-1 or SHA-256, or the id of an event or task",
        )
    return Asked(text, "id", None)


async def life_line(parts: Parts, tables: Tables, identity: str) -> LifeLine:
    """Ask every part.

    Raises:
        BadInput: It is neither a hash nor an id.
        NotFound: No part knows it.
        Unavailable: No part that answered knows it, and not every part could be asked to the end.
    """
    asked = read_identity(identity)
    await tables.try_refresh()
    down = _Down()
    meant = await down.unless(_meant(parts, asked), [])
    texts = list(dict.fromkeys([asked.text, *meant]))
    scanned = await down.unless(_scan(parts, texts), Scanned([], 0, ""))
    meant = meant or _named_by(asked, scanned.hits)
    line = LifeLine(
        asked.text,
        asked.kind,
        meant,
        [_seen(record) for record in scanned.hits],
        scanned.records_read,
        [EntrySeen(*entry) for entry in tables.mentioning(texts)],
        await down.unless(_objects(parts, meant), []),
        await down.unless(_rows(parts, asked, scanned.hits), []),
        await down.unless(_documents(parts, asked, meant), []),
        [*([scanned.cut] if scanned.cut else []), *down.remarks, *tables.remarks()],
    )
    if line.records or line.entries or line.objects or line.rows or line.documents:
        return line
    tried, why = f"look for {asked.text[:200]!r}", "; ".join(line.remarks)
    if down.remarks or scanned.cut:
        raise Unavailable(tried, f"not everything could be looked at: {why}", "try again later")
    raise NotFound(tried, why or "nothing here knows it")


class _Down:
    """Remembers which parts did not answer, so that the others are asked all the same."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    async def unless(self, work: Awaitable[T], otherwise: T) -> T:
        """Return the result of work, or `otherwise` when its part does not answer."""
        try:
            return await work
        except Unavailable as error:
            self.remarks.append(str(error))
            return otherwise


async def _scan(parts: Parts, texts: Iterable[str]) -> Scanned:
    topics = await own_topics(parts)
    return await scan(parts.log, topics, [text.encode() for text in texts], parts.clock)


async def _meant(parts: Parts, asked: Asked) -> list[str]:
    """Return the files a hash stands for."""
    if asked.field is None:
        return []
    if asked.field == "sha256":
        return [asked.text]
    page = await parts.index.search("binary2", Query(Term(asked.field, (asked.text,)), limit=_OBJECTS_MAX))
    return sorted({str(hit.body["sha256"]) for hit in page.hits if hit.body.get("sha256")})


def _named_by(asked: Asked, hits: Iterable[Record]) -> list[str]:
    """Return the files the events with the id asked for are about."""
    wanted = asked.text.encode()
    found = {_file_of(_body(hit)) for hit in hits if hit.key == wanted}
    return sorted(found - {""})[:_OBJECTS_MAX]


def _file_of(body: Mapping[str, Any]) -> str:
    entity = _part_of(body, "entity")
    sha256 = entity.get("sha256") or _part_of(_part_of(entity, "input"), "entity").get("sha256")
    return sha256 if isinstance(sha256, str) and is_sha256(sha256) else ""


def _part_of(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside another; empty when something else stands there."""
    part = body.get(name)
    return part if isinstance(part, dict) else {}


def _body(record: Record) -> dict[str, Any]:
    """Return the JSON object a record holds; empty when it holds something else."""
    with suppress(msgspec.DecodeError, RecursionError):
        body = msgspec.json.decode(record.value or b"")
        return body if isinstance(body, dict) else {}
    return {}


async def _objects(parts: Parts, meant: Iterable[str]) -> list[Copy]:
    found: list[Copy] = []
    for sha256 in meant:
        page = await documents_of(parts, sha256, limits.OBJECT_DOCUMENTS_MAX)
        found += await copies_of(parts, sha256, page.hits)
    return found


async def _rows(parts: Parts, asked: Asked, hits: Iterable[Record]) -> list[ArchivedEvent]:
    """Return the rows of the events found, and of the event asked for."""
    keys = [asked.text] if asked.field in {None, "md5"} else []
    keys += [
        key for key in (shown_text(hit.key)[0] for hit in hits if hit.topic.startswith("azul.")) if key
    ]
    found: dict[str, ArchivedEvent] = {}
    for key in list(dict.fromkeys(keys))[:_KEYS_MAX]:
        for row in await lookup.by_event_key(parts.database, key):
            found[str(row.uuid)] = archived(row)
    return list(found.values())


async def _documents(parts: Parts, asked: Asked, meant: list[str]) -> list[DocumentSeen]:
    newest = (Sort("timestamp", descending=True),)
    wanted = tuple(meant)
    found: list[DocumentSeen] = []
    if wanted:
        fields = ("sha256", "datastreams.sha256", "parent.sha256")
        about = Or(tuple(Term(field, wanted) for field in fields))
        page = await parts.index.search("binary2", Query(about, newest, limits.OBJECT_DOCUMENTS_MAX))
        found += [DocumentSeen("binary2", hit.id, _about(hit.body)) for hit in page.hits]
        about = Or((Term("entity.input.entity.sha256", wanted),))
        page = await parts.index.search("status", Query(about, newest, limits.OBJECT_DOCUMENTS_MAX))
        found += [DocumentSeen("status", hit.id, _about(hit.body)) for hit in page.hits]
    families: tuple[Family, ...] = ("status", "plugin")
    for family in families:
        for name, body in (await parts.index.get(family, {asked.text: None})).items():
            found.append(DocumentSeen(family, name, _about(body)))
    return found


def _about(body: Mapping[str, Any]) -> str:
    """Say in short what a document or event tells."""
    status = _part_of(body, "entity").get("status")
    what = body.get("action") or body.get("kind") or body.get("state") or status or ""
    who = _part_of(body, "author").get("name") or body.get("plugin") or body.get("agent") or ""
    return f"{what} by {who}".strip() if who else str(what)


def _seen(record: Record) -> RecordSeen:
    what = "removed" if record.value is None else _about(_body(record))
    text, encoded = shown_text(record.key)
    return RecordSeen(
        record.topic, record.partition, record.offset, record.timestamp_ms, encoded or text, what
    )
