"""How much came when: counted by hour, day and month, on both databases."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline import limits_archive
from pipeline.archive.figures.rates import LATEST_MS, last_steps, rates, span_of
from pipeline.archive.figures.totals import bytes_by_topic, totals
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from pipeline.errors import TooLarge
from tests.archive.archived import Archive, a_message
from tests.databases import execute


def ms(text: str) -> int:
    """Read a time in UTC."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def sent(offset: int, when: str, topic: str = "a") -> Message:
    """Make a message sent then."""
    return a_message(offset, topic=topic, timestamp_ms=ms(when), value=b"%d" % offset)


@pytest.mark.parametrize(
    ("step", "start", "end", "starts"),
    [
        ("hour", "2024-02-28T23:30", "2024-02-29T01:00", ["2024-02-28T23:00", "2024-02-29T00:00"]),
        ("day", "2024-02-28T23:30", "2024-03-01T00:00", ["2024-02-28", "2024-02-29"]),
        ("month", "2023-12-31", "2024-02-01T00:00:01", ["2023-12-01", "2024-01-01", "2024-02-01"]),
        ("hour", "1970-01-01", "1970-01-01", ["1970-01-01"]),
    ],
)
def test_a_range_is_cut_into_the_steps_that_hold_it(
    step: str, start: str, end: str, starts: list[str]
) -> None:
    span = span_of(step, ms(start), ms(end))  # type: ignore[arg-type] # the parameters are the steps
    assert span.starts == tuple(map(ms, starts))
    assert span.end_ms >= ms(end)


def test_the_last_steps_end_behind_the_last_moment() -> None:
    assert last_steps("month", 3, ms("2024-03-01")).starts == tuple(
        map(ms, ["2023-12-01", "2024-01-01", "2024-02-01"])
    )
    assert last_steps("month", 3, ms("2024-03-01") + 1).starts[-1] == ms("2024-03-01")
    assert last_steps("day", 3, 5).starts == (0,), "nothing was sent before 1970"


def test_no_range_has_more_steps_than_the_limit() -> None:
    assert (
        len(span_of("hour", 0, limits_archive.ARCHIVE_STEPS_MAX * 3_600_000).starts)
        == limits_archive.ARCHIVE_STEPS_MAX
    )
    with pytest.raises(TooLarge, match="choose a shorter range"):
        span_of("hour", 0, limits_archive.ARCHIVE_STEPS_MAX * 3_600_000 + 1)
    assert span_of("month", LATEST_MS - 1, 2**62).end_ms == LATEST_MS


async def test_every_message_counts_in_its_step_and_in_no_other(
    writer: ArchiveWriter, archive: Archive, database: Database
) -> None:
    times = ["2024-02-28T23:59:59.999", "2024-02-29T00:00", "2024-02-29T23:59", "2024-03-01T00:00"]
    outcomes = await writer.store([sent(n, when) for n, when in enumerate(times)])
    assert all(outcome.stored for outcome in outcomes)
    await writer.store([sent(9, "2024-02-29T12:00", "b")])
    span = span_of("day", ms("2024-02-28"), ms("2024-03-01"))
    found = await rates(database, span)
    rows = sorted(await archive.rows("a"), key=lambda row: row.timestamp)
    sizes = [row.size for row in rows]
    assert [(one.topic, one.messages) for one in found.topics] == [("a", [1, 2]), ("b", [0, 1])]
    assert found.topics[0].size_bytes == [sizes[0], sizes[1] + sizes[2]]
    assert found.together().messages == [1, 3]
    by_hour = await rates(
        database, span_of("hour", ms("2024-02-28T23:00"), ms("2024-02-29T01:00")), topic="a"
    )
    assert [one.messages for one in by_hour.topics] == [[1, 1]]
    by_month = await rates(database, span_of("month", ms("2024-01-01"), ms("2024-04-01")))
    assert [(one.topic, one.messages) for one in by_month.topics] == [("a", [0, 3, 1]), ("b", [0, 1, 0])]


async def test_only_what_is_wanted_is_counted(writer: ArchiveWriter, database: Database) -> None:
    await writer.store([sent(n, "2024-02-29T00:00", topic) for n, topic in enumerate("abc")])
    span = last_steps("day", 2, ms("2024-03-01"))
    found = await rates(database, span, wanted=lambda topic: topic != "b")
    assert [one.topic for one in found.topics] == ["a", "c"]
    assert (await rates(database, span, topic="none")).topics == []


async def test_too_many_figures_are_refused_before_they_fill_the_memory(
    writer: ArchiveWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.store([sent(n, "2024-02-29T00:00", topic) for n, topic in enumerate("abc")])
    span = last_steps("day", 2, ms("2024-03-01"))
    monkeypatch.setattr(limits_archive, "ARCHIVE_RATES_ROWS_MAX", 3)
    assert len((await rates(database, span)).topics) == 3
    monkeypatch.setattr(limits_archive, "ARCHIVE_RATES_ROWS_MAX", 2)
    with pytest.raises(TooLarge, match="or one topic"):
        await rates(database, span)


async def test_times_no_calendar_has_are_in_no_step_and_disturb_none(
    writer: ArchiveWriter, database: Database
) -> None:
    far = [a_message(0, timestamp_ms=2**53), a_message(1, timestamp_ms=-1), a_message(2, timestamp_ms=0)]
    assert all(outcome.stored for outcome in await writer.store(far))
    found = await rates(database, span_of("month", 0, 1))
    assert [one.messages for one in found.topics] == [[1]]


async def test_totals_tell_what_is_stored_and_what_is_put_aside(
    writer: ArchiveWriter, archive: Archive, database: Database
) -> None:
    empty = await totals(database)
    assert (empty.topics, empty.last_stored, empty.parked) == ([], None, {})
    assert await bytes_by_topic(database) == {}
    await writer.store(
        [sent(0, "2024-02-28T01:00"), sent(1, "2024-02-29T01:00"), sent(2, "2024-02-29", "b")]
    )
    aside = (
        "INSERT INTO archive_parked "
        "VALUES ('x', '', 'b', 0, 7, 1, 'parked/x', 'why', '2024-01-01 00:00:00')"
    )
    await execute(database, [aside])
    known = await totals(database)
    assert [(one.topic, one.messages) for one in known.topics] == [("a", 2), ("b", 1)]
    assert (known.topics[0].earliest_ms, known.topics[0].latest_ms) == (
        ms("2024-02-28T01:00"),
        ms("2024-02-29T01:00"),
    )
    assert known.last_stored == dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert known.parked == {"b": 1}
    sizes = {topic: sum(row.size for row in await archive.rows(topic)) for topic in "ab"}
    assert await bytes_by_topic(database) == sizes
