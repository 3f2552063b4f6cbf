"""Lists of archived messages: filtered, in the order of their times, page by page (archive contract, 17.1).

A page is continued by an opaque mark that names a place between two messages, so what is archived or
removed meanwhile shifts nothing. Works on rows alone; no object is read.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.text import search as text_search
from pipeline.database.engine import Database
from pipeline.database.tables import messages, topics
from pipeline.errors import BadInput

_MARK = struct.Struct(">bqq")
_MARK_VERSION = 0x10
_INTEGER_MAX = 2**63 - 1


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages a list is of.

    The times are a half-open range in ms: `start_ms` belongs to it, `end_ms` does not. `search` is a text
    in the syntax of web searches; only messages whose text is indexed are found by it. Of topics outside
    `private_topics` only public messages are listed; None stands for every topic.
    """

    topics: frozenset[str] | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    include_retracted: bool = True
    search: str = ""
    private_topics: frozenset[str] | None = frozenset()


class Page(NamedTuple):
    """One page in the order asked for, and the marks of the pages around it; None where nothing is."""

    rows: list[ArchivedRow]
    next: str | None
    prev: str | None


class _Place(NamedTuple):
    """A place between two messages: just before or just after the one with that time and id."""

    timestamp: int
    id: int
    after: bool


class _Mark(NamedTuple):
    """Where a page begins, and which way it goes from there in the order asked for."""

    way: Literal["next", "prev"]
    place: _Place


async def read_page(
    database: Database,
    wanted: Wanted,
    *,
    limit: int,
    mark: str = "",
    ascending: bool = True,
    most_bytes: int | None = None,
) -> Page:
    """Read the page a mark names, the first one without a mark.

    It has at most `limit` messages, ordered by time and serial number, and fewer when their objects have
    more than `most_bytes` together; one it has in any case.

    Raises:
        BadInput: The mark is none of ours. Unavailable: The database does not answer.
    """
    begin = _read_mark(mark) if mark else None
    backward = begin is not None and begin.way == "prev"
    later = ascending != backward  # which way the rows are walked: towards later times or earlier ones
    query = _page_query(database.kind, wanted, begin and begin.place, limit + 1, later=later)

    async def ask(connection: AsyncConnection) -> list[Any]:
        return list((await connection.execute(query)).all())

    walked = [ArchivedRow(*row) for row in await database.read("list archived messages", ask)]
    rows = _cut(walked, limit, most_bytes)
    more = len(rows) < len(walked)
    # Whoever comes from a page can go back there.
    first, last = (more, True) if backward else (begin is not None, more)
    if backward:
        rows.reverse()
    return Page(
        rows,
        _mark("next", rows, begin, ascending=ascending) if last else None,
        _mark("prev", rows, begin, ascending=ascending) if first else None,
    )


def _cut(rows: Sequence[ArchivedRow], limit: int, most_bytes: int | None) -> list[ArchivedRow]:
    kept: list[ArchivedRow] = []
    size_bytes = 0
    for row in rows[:limit]:
        size_bytes += row.size
        if kept and most_bytes is not None and size_bytes > most_bytes:
            break
        kept.append(row)
    return kept


async def count(database: Database, wanted: Wanted) -> int:
    """Count the messages of a list. Raises `Unavailable`."""
    query = select(func.count()).select_from(messages).where(*_conditions(database.kind, wanted))

    async def ask(connection: AsyncConnection) -> int:
        return int((await connection.execute(query)).scalar_one())

    return await database.read("count archived messages", ask)


async def topic_names(database: Database) -> list[str]:
    """Name the topics of which there are messages, in order. Raises `Unavailable`."""
    query = select(topics.c.topic).where(topics.c.n_messages > 0).order_by(topics.c.topic)

    async def ask(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(query)).scalars())

    return await database.read("name archived topics", ask)


async def public_topics(database: Database) -> list[str]:
    """Name the topics of which there are public messages, in order. Raises `Unavailable`."""
    public = select(messages.c.id).where(messages.c.topic == topics.c.topic, messages.c.public)
    query = select(topics.c.topic).where(public.exists()).order_by(topics.c.topic)

    async def ask(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(query)).scalars())

    return await database.read("name public topics", ask)


def _page_query(
    kind: Literal["sqlite", "postgresql"], wanted: Wanted, place: _Place | None, limit: int, *, later: bool
) -> Select[Any]:
    """Select rows by the ids that a query over indexed columns alone finds."""
    if wanted.topics and len(wanted.topics) <= limits_archive.ARCHIVE_TOPICS_APART:
        # One search a topic: a single one would walk past every message of all others.
        apart = [
            msgspec.structs.replace(wanted, topics=frozenset((topic,))) for topic in sorted(wanted.topics)
        ]
    else:
        apart = [wanted]
    searches = [
        select(messages.c.timestamp, messages.c.id)
        .where(*_conditions(kind, each), *_beyond(place, later=later))
        .order_by(*_order(messages.c.timestamp, messages.c.id, later=later))
        .limit(limit)
        .subquery()
        for each in apart
    ]
    found = union_all(*(select(each) for each in searches)).subquery()
    kept = messages.alias("kept")
    return (
        select(*_columns(kept))
        .join(found, kept.c.id == found.c.id)
        .order_by(*_order(kept.c.timestamp, kept.c.id, later=later))
        .limit(limit)
    )


def _columns(table: Any) -> list[ColumnElement[Any]]:
    return [table.c[name] for name in ArchivedRow.__struct_fields__]


def _conditions(kind: Literal["sqlite", "postgresql"], wanted: Wanted) -> Iterable[ColumnElement[bool]]:
    if wanted.topics is not None:
        names = sorted(wanted.topics)
        yield messages.c.topic == names[0] if len(names) == 1 else messages.c.topic.in_(names)
    if wanted.private_topics is not None and not _all_private(wanted):
        visible = messages.c.public
        private = wanted.private_topics
        yield or_(visible, messages.c.topic.in_(sorted(private))) if private else visible
    if wanted.start_ms is not None:
        yield messages.c.timestamp >= wanted.start_ms
    if wanted.end_ms is not None:
        yield messages.c.timestamp < wanted.end_ms
    if not wanted.include_retracted:
        yield messages.c.retracted.is_(False)
    if wanted.search:
        yield text_search.condition(kind, wanted.search)


def _all_private(wanted: Wanted) -> bool:
    """Say whether every topic asked for is one whose private messages are listed too."""
    return wanted.topics is not None and wanted.topics <= (wanted.private_topics or frozenset())


def _beyond(place: _Place | None, *, later: bool) -> Iterable[ColumnElement[bool]]:
    """Give the conditions of lying beyond a place; the first alone lets an index by time start there."""
    if place is None:
        return
    where = tuple_(messages.c.timestamp, messages.c.id)
    here = (place.timestamp, place.id)
    if later:
        yield messages.c.timestamp >= place.timestamp
        yield where > here if place.after else where >= here
    else:
        yield messages.c.timestamp <= place.timestamp
        yield where <= here if place.after else where < here


def _order(timestamp: ColumnElement[int], serial: ColumnElement[int], *, later: bool) -> Sequence[Any]:
    return (timestamp, serial) if later else (timestamp.desc(), serial.desc())


def _mark(
    way: Literal["next", "prev"], rows: Sequence[ArchivedRow], begin: _Mark | None, *, ascending: bool
) -> str | None:
    """Write the mark of the page after or before these rows; of an empty page it is where that began."""
    if rows:
        row = rows[-1 if way == "next" else 0]
        place = _Place(row.timestamp, row.id, (way == "next") == ascending)
    elif begin is not None:
        place = begin.place
    else:
        return None
    flags = _MARK_VERSION | (way == "prev") << 1 | place.after
    packed = _MARK.pack(flags, place.timestamp, place.id)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _read_mark(mark: str) -> _Mark:
    try:
        packed = base64.b64decode(mark + "=" * (-len(mark) % 4), altchars=b"-_", validate=True)
        flags, timestamp, serial = _MARK.unpack(packed)
    except (binascii.Error, ValueError, struct.error) as error:
        raise BadInput("go to a page", "the mark is none this list gave out") from error
    if flags & ~0b11 != _MARK_VERSION:
        raise BadInput("go to a page", "the mark is none this list gave out")
    return _Mark("prev" if flags & 0b10 else "next", _Place(timestamp, serial, bool(flags & 1)))
