"""How much was sent when: messages and bytes of each topic by hour, day or month.

Counted by the messages' own times, from the rows, so late and restored messages stand where they belong.
Reading is bounded in time: who asks for more than the database can count is told to ask for less.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.errors import TooLarge, Unavailable

Step = Literal["hour", "day", "month"]

MILLISECONDS: dict[Step, int] = {"hour": 3_600_000, "day": 86_400_000}
"""Length of the steps that are all alike."""
LATEST_MS = int(dt.datetime(9999, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
"""Where counting ends; messages that claim a later time are archived and found, but have no day."""


class Span(msgspec.Struct, frozen=True):
    """A range of time cut into whole steps, in UTC: where each begins, and where the last one ends."""

    step: Step
    starts: tuple[int, ...]
    end_ms: int

    @property
    def start_ms(self) -> int:
        """Give where it begins."""
        return self.starts[0]


class TopicRate(msgspec.Struct, frozen=True):
    """What was sent on one topic: a figure for each step of the span."""

    topic: str
    messages: list[int]
    size_bytes: list[int]
    """Bytes of the archived objects, headers and annotations included."""


class Rates(msgspec.Struct, frozen=True):
    """What was sent in a span, the topics with most messages first."""

    span: Span
    topics: list[TopicRate]

    def together(self) -> TopicRate:
        """Add all topics up, under no name."""
        count = len(self.span.starts)
        return TopicRate(
            "",
            [sum(one.messages[n] for one in self.topics) for n in range(count)],
            [sum(one.size_bytes[n] for one in self.topics) for n in range(count)],
        )


def span_of(step: Step, start_ms: int, end_ms: int) -> Span:
    """Cut a half-open range of time into the steps that hold it; there is at least one.

    Raises:
        TooLarge: It takes more than `limits_archive.ARCHIVE_STEPS_MAX` steps.
    """
    start = _beginning(step, min(max(start_ms, 0), LATEST_MS - 1))
    end_ms = min(end_ms, LATEST_MS)
    starts = [start]
    while (start := _next(step, start)) < end_ms:
        starts.append(start)
        if len(starts) > limits_archive.ARCHIVE_STEPS_MAX:
            raise TooLarge(
                f"count messages by {step}",
                f"the range has more than {limits_archive.ARCHIVE_STEPS_MAX} of them",
                "choose a shorter range or longer steps",
            )
    return Span(step, tuple(starts), start)


def last_steps(step: Step, count: int, end_ms: int) -> Span:
    """Give the `count` steps of which the last one holds the moment before `end_ms`."""
    start = _beginning(step, min(max(end_ms - 1, 0), LATEST_MS - 1))
    end = _next(step, start)
    for _ in range(count - 1):
        start = _beginning(step, max(start - 1, 0))
    return span_of(step, start, end)


async def rates(
    database: Database, span: Span, *, topic: str = "", wanted: Callable[[str], bool] = lambda _: True
) -> Rates:
    """Count the messages of a span: of one topic, or of all that are wanted.

    Raises:
        TooLarge: There are more topics and steps than `limits_archive.ARCHIVE_RATES_ROWS_MAX`.
        Unavailable: The database does not answer, or not within `limits_archive.ARCHIVE_FIGURES_SECONDS`.
    """
    step = _step_of(span, database.kind)
    query = (
        select(messages.c.topic, step, func.count(), func.sum(messages.c.size))
        .where(messages.c.timestamp >= span.start_ms, messages.c.timestamp < span.end_ms)
        .group_by(messages.c.topic, step)
        .limit(limits_archive.ARCHIVE_RATES_ROWS_MAX + 1)
    )
    if topic:
        query = query.where(messages.c.topic == topic)

    async def ask(connection: AsyncConnection) -> Sequence[Any]:
        return (await connection.execute(query)).all()

    try:
        async with asyncio.timeout(limits_archive.ARCHIVE_FIGURES_SECONDS):
            rows = await database.read("count archived messages", ask)
    except TimeoutError as error:
        raise Unavailable(
            "count archived messages",
            f"it takes more than {limits_archive.ARCHIVE_FIGURES_SECONDS:g} s",
            "choose a shorter range, or one topic",
        ) from error
    if len(rows) > limits_archive.ARCHIVE_RATES_ROWS_MAX:
        raise TooLarge(
            "count archived messages",
            f"more than {limits_archive.ARCHIVE_RATES_ROWS_MAX} figures",
            "choose a shorter range, longer steps, or one topic",
        )
    return Rates(span, _topics(span, (row for row in rows if wanted(row[0]))))


def _topics(span: Span, rows: Iterable[Any]) -> list[TopicRate]:
    count = len(span.starts)
    place = {_name(span, start): number for number, start in enumerate(span.starts)}
    found: dict[str, TopicRate] = {}
    for topic, step, number, size in rows:
        if topic not in found:
            found[topic] = TopicRate(topic, [0] * count, [0] * count)
        found[topic].messages[place[step]] += number
        found[topic].size_bytes[place[step]] += int(size)
    return sorted(found.values(), key=lambda one: (-sum(one.messages), one.topic))


def _step_of(span: Span, kind: Literal["sqlite", "postgresql"]) -> ColumnElement[Any]:
    """Give the step a row belongs to, under the name `_name` gives it."""
    time = messages.c.timestamp
    if span.step != "month":
        return (time - span.start_ms) // MILLISECONDS[span.step]
    if kind == "sqlite":
        return func.strftime("%Y-%m", time // 1000, "unixepoch")
    return func.to_char(func.timezone("UTC", func.to_timestamp(time // 1000)), "YYYY-MM")


def _name(span: Span, start_ms: int) -> int | str:
    if span.step != "month":
        return (start_ms - span.start_ms) // MILLISECONDS[span.step]
    return f"{_moment(start_ms):%Y-%m}"


def _beginning(step: Step, time_ms: int) -> int:
    """Give where the step begins that holds a time."""
    if step != "month":
        return time_ms - time_ms % MILLISECONDS[step]
    return _milliseconds(_moment(time_ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _next(step: Step, start_ms: int) -> int:
    if step != "month":
        return start_ms + MILLISECONDS[step]
    start = _moment(start_ms)
    return _milliseconds(start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1))


def _moment(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


def _milliseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1000
