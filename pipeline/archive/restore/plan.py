"""What a restore plays back, in which order: rows of the archive, window by window.

A plan is fixed when it is made: what is archived afterwards does not belong to it, so going on with it
later, from any position, gives the same rows. It holds one window and some pages of rows at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Select, Text, cast, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive.restore.report import Options, Selected, Selection
from pipeline.archive.restore.selection import (
    UNPLACED,
    Lane,
    Newest,
    Total,
    chosen_topics,
    conditions_of_lane,
    conditions_of_selection,
    totals_of,
)
from pipeline.database.engine import Database
from pipeline.database.tables import messages


class PlannedRow(NamedTuple):
    """What a restore has to know of a row of the archive."""

    id: int
    topic: str
    timestamp: int
    stored_uuid: UUID | str
    size: int
    key: str
    crc32: int
    message_crc32: int
    kafka_partition: int | None
    kafka_offset: int | None
    cluster: str | None
    sha256: bytes | None
    pack_offset: int | None

    @property
    def uuid(self) -> UUID:
        """Give its uuid; made here because few are looked at and making them all takes long."""
        return UUID(str(self.stored_uuid))

    @property
    def number(self) -> int:
        """Give its offset, or the serial number of its row where it never stood in a log."""
        if self.kafka_offset is None or self.kafka_partition is None:
            return self.id
        return self.kafka_offset


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A row as the last one that is done with; `lane` is None in order of time."""

    lane: Lane | None
    offset: int
    timestamp: int
    id: int

    @property
    def order(self) -> tuple[object, ...]:
        """Give what positions of one plan are sorted by."""
        return (self.lane or (), self.offset, self.timestamp, self.id)


class Window(NamedTuple):
    """Consecutive rows of a plan, and the position of the last of them."""

    rows: list[PlannedRow]
    position: Position

    @property
    def size_bytes(self) -> int:
        """Give the bytes of their documents."""
        return sum(row.size for row in self.rows)


_COLUMNS = [
    type_coerce(messages.c.uuid, Text) if name == "stored_uuid" else messages.c[name]
    for name in PlannedRow._fields
]
_BY_TIME = (messages.c.timestamp, messages.c.id)
# Two messages of one partition have never both in common.
_BY_OFFSET = (messages.c.kafka_offset, messages.c.timestamp)
_Pages = AsyncGenerator[list[PlannedRow], None]


class Plan:
    """The rows of a selection in the order asked for. Made by `make_plan`.

    Args:
        database: The archive's.
        conditions: What every row satisfies, but for its topic.
        totals: What each lane holds.
        options: Say the order, and how fast rows are used up.
        newest: The last row that can belong to it.
    """

    def __init__(
        self,
        database: Database,
        conditions: Sequence[ColumnElement[bool]],
        totals: Sequence[Total],
        options: Options,
        newest: Newest,
    ) -> None:
        self.newest = newest
        self._database = database
        self._conditions = conditions
        self._totals = sorted(totals)
        self._by_time = options.order == "time"
        self._window_rows = limits_archive.RESTORE_WINDOW_ROWS
        if options.rate:
            # So that what one line of the journal stands for is sent within seconds.
            slow = int(options.rate * limits_archive.RESTORE_WINDOW_SECONDS)
            self._window_rows = max(1, min(self._window_rows, slow))

    @property
    def messages(self) -> int:
        """Give how many messages there are."""
        return sum(total.messages for total in self._totals)

    @property
    def bytes(self) -> int:
        """Give how many bytes their documents have."""
        return sum(total.bytes for total in self._totals)

    def lanes(self) -> list[Lane]:
        """Give the lanes in order."""
        return [total.lane for total in self._totals]

    def totals(self) -> list[Total]:
        """Give what each lane holds, in order of the lanes."""
        return list(self._totals)

    def topics(self) -> list[str]:
        """Name the topics in order."""
        return sorted({total.lane.topic for total in self._totals})

    def selected(self) -> list[Selected]:
        """Give what each partition has, clusters together."""
        found: dict[tuple[str, int], list[Total]] = {}
        for total in self._totals:
            found.setdefault((total.lane.topic, total.lane.partition), []).append(total)
        return [
            Selected(
                topic,
                None if partition == UNPLACED else partition,
                sum(total.messages for total in totals),
                sum(total.bytes for total in totals),
                min(total.earliest_ms for total in totals),
                max(total.latest_ms for total in totals),
            )
            for (topic, partition), totals in found.items()
        ]

    async def windows(
        self, after: Position | None = None, until: Position | None = None
    ) -> AsyncIterator[Window]:
        """Give the rows behind a position, up to and with another, some at a time.

        Raises:
            Unavailable: The database does not answer.
        """
        rows: list[PlannedRow] = []
        size_bytes = 0
        async for page in self._pages(after):
            here = page if until is None else [row for row in page if self._is_within(row, until)]
            for row in here:
                full = len(rows) >= self._window_rows
                if rows and (full or size_bytes + row.size > limits_archive.RESTORE_WINDOW_BYTES):
                    yield Window(rows, self._position(rows[-1]))
                    rows, size_bytes = [], 0
                rows.append(row)
                size_bytes += row.size
            if len(here) < len(page):
                break
        if rows:
            yield Window(rows, self._position(rows[-1]))

    def _is_within(self, row: PlannedRow, until: Position) -> bool:
        return self._position(row).order <= until.order

    def _position(self, row: PlannedRow) -> Position:
        if self._by_time:
            return Position(None, 0, row.timestamp, row.id)
        lane = lane_of(row)
        offset = 0 if lane.partition == UNPLACED else row.number
        return Position(lane, offset, row.timestamp, row.id)

    def _pages(self, after: Position | None) -> _Pages:
        return self._pages_by_time(after) if self._by_time else self._pages_by_lane(after)

    # --- one lane after the other ---

    async def _pages_by_lane(self, after: Position | None) -> _Pages:
        for total in self._totals:
            reached = after if after is not None and after.lane == total.lane else None
            if after is not None and after.lane is not None and total.lane < after.lane:
                continue
            conditions = conditions_of_lane(total)
            columns = _BY_TIME if total.lane.partition == UNPLACED else _BY_OFFSET
            async for page in self._pages_of(
                conditions, columns, reached, limits_archive.RESTORE_PAGE_ROWS
            ):
                yield page

    async def _pages_of(
        self,
        conditions: Sequence[ColumnElement[bool]],
        columns: Sequence[ColumnElement[Any]],
        after: Position | None,
        page_rows: int,
    ) -> _Pages:
        query = select(*_COLUMNS).where(*conditions, *self._conditions).order_by(*columns).limit(page_rows)
        while True:
            page = await self._read(query if after is None else query.where(_behind(columns, after)))
            if page:
                yield page
            if len(page) < page_rows:
                return
            after = self._position(page[-1])

    async def _read(self, query: Select[Any]) -> list[PlannedRow]:
        async def ask(connection: AsyncConnection) -> list[PlannedRow]:
            return [PlannedRow._make(row) for row in await connection.execute(query)]

        return await self._database.read("list messages to restore", ask)

    # --- all in order of time ---

    def _pages_by_time(self, after: Position | None) -> _Pages:
        """Give pages in order of time: each topic by its index, or from very many topics all by one."""
        topics = self.topics()
        if len(topics) > limits_archive.ARCHIVE_TOPICS_APART:
            # Joined to nothing, so that the rows are not looked for by topic and sorted for each page.
            some = [messages.c.topic.concat("").in_(topics)]
            return self._pages_of(some, _BY_TIME, after, limits_archive.RESTORE_PAGE_ROWS)
        page_rows = max(limits_archive.RESTORE_PAGE_ROWS // max(len(topics), 1), 1)
        return _merged(
            [self._pages_of([messages.c.topic == topic], _BY_TIME, after, page_rows) for topic in topics]
        )


async def _merged(streams: Sequence[_Pages]) -> _Pages:
    """Put pages together that are each in order of time."""
    if len(streams) == 1:
        async for page in streams[0]:
            yield page
        return
    heap: list[tuple[int, int, int]] = []
    rows: list[list[PlannedRow]] = [[] for _ in streams]  # of each stream, the next one last

    async def pull(number: int) -> None:
        if not rows[number]:
            rows[number] = (await anext(streams[number], []))[::-1]
        if rows[number]:
            row = rows[number][-1]
            heapq.heappush(heap, (row.timestamp, row.id, number))

    for number in range(len(streams)):
        await pull(number)
    page = []
    while heap:
        number = heapq.heappop(heap)[2]
        page.append(rows[number].pop())
        await pull(number)
        if len(page) >= limits_archive.RESTORE_PAGE_ROWS:
            yield page
            page = []
    if page:
        yield page


def _behind(columns: Sequence[ColumnElement[Any]], after: Position) -> ColumnElement[bool]:
    """Give what rows behind a position satisfy, in the order of these columns."""
    reached = (after.offset, after.timestamp) if columns is _BY_OFFSET else (after.timestamp, after.id)
    return tuple_(*columns) > tuple_(*(cast(number, BigInteger) for number in reached))


def lane_of(row: PlannedRow) -> Lane:
    """Give the lane of a row."""
    if row.kafka_offset is None or row.kafka_partition is None:
        return Lane(row.topic, "", UNPLACED)
    return Lane(row.topic, row.cluster or "", row.kafka_partition)


async def make_plan(database: Database, selection: Selection, options: Options, newest: Newest) -> Plan:
    """Look up what a selection holds, up to the newest row that belongs to it.

    Raises:
        BadInput: The selection cannot be used. NotFound: The archive has no such topic or uuid.
        Unavailable: The database does not answer.
    """
    topics = await chosen_topics(database, selection)
    conditions = conditions_of_selection(selection, newest)
    totals = [total for topic in topics for total in await totals_of(database, topic, conditions)]
    return Plan(database, conditions, totals, options, newest)
