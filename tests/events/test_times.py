"""Times: what clients may send, what is kept of it, what is stored."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventCorrupt
from pipeline.events import times
from tests.events.strategies import MOMENTS


@pytest.mark.parametrize(
    ("sent", "posted", "normal"),
    [
        ("2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01T10:20:30+00:00", "2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01T10:20:30-00:00", "2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01t10:20:30z", "2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01T10:20:30.5+05:30", "2026-11-01T10:20:30.5+05:30", "2026-11-01T04:50:30.5Z"),
        ("2026-11-01T10:20:30.120000Z", "2026-11-01T10:20:30.12Z", "2026-11-01T10:20:30.12Z"),
        ("2026-11-01T10:20:30.000000Z", "2026-11-01T10:20:30Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01T10:20:30.123456999Z", "2026-11-01T10:20:30.123456999Z", "2026-11-01T10:20:30.123456Z"),
        (
            "2026-11-01T10:20:30.1234569991Z",
            "2026-11-01T10:20:30.123456999Z",
            "2026-11-01T10:20:30.123456Z",
        ),
        ("2026-11-01T10:20:30.000000001Z", "2026-11-01T10:20:30.000000001Z", "2026-11-01T10:20:30Z"),
        ("2026-11-01T10:20:30.100000001Z", "2026-11-01T10:20:30.100000001Z", "2026-11-01T10:20:30.1Z"),
        ("2024-12-31T23:59:59.9-11:00", "2024-12-31T23:59:59.9-11:00", "2025-01-01T10:59:59.9Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_offset_and_nanoseconds_are_kept_as_posted_and_gone_when_stored(
    sent: str, posted: str, normal: str
) -> None:
    assert times.posted(sent) == posted
    assert times.normal(posted) == normal


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "2026-11-01",
        "2026-11-01T10:20:30",
        "2026-11-01 10:20:30Z",
        "2026-11-01T10:20Z",
        "20261101T102030Z",
        "2026-W01-1T10:20:30Z",
        "2026-11-01T10:20:30,5Z",
        "2026-11-01T10:20:30.Z",
        "2026-02-30T10:20:30Z",
        "2026-13-01T10:20:30Z",
        "2026-11-01T24:00:00Z",
        "2026-11-01T10:20:60Z",
        "2026-11-01T10:20:30+0530",
        "2026-11-01T10:20:30+24:00",
        "2026-11-01T10:20:30+05:30:15",
        "2026-11-01T10:20:30Z\n",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٦-11-01T10:20:30Z",
    ],
)
def test_what_is_not_rfc_3339_is_refused(sent: str) -> None:
    with pytest.raises(EventCorrupt):
        times.posted(sent)


@pytest.mark.parametrize(
    "text", ["", "Z", "tomorrow", "2026-11-01T10:20:30", "2026-99-01T10:20:30.5+05:30"]
)
def test_reading_a_stored_time_that_is_none_never_raises_anything_else(text: str) -> None:
    with pytest.raises(EventCorrupt):
        times.normal(text)
    with pytest.raises(EventCorrupt):
        times.parse(text)


@pytest.mark.parametrize("text", ["2026-11-01T10:20:30.500Z", "2026-11-01T10:20:30.500000000Z"])
def test_zeros_that_never_went_through_posting_are_not_stored_either(text: str) -> None:
    assert times.normal(text) == "2026-11-01T10:20:30.5Z"


@given(MOMENTS)
def test_a_moment_survives_being_written_and_read(moment: dt.datetime) -> None:
    text = times.text_of(moment)
    assert times.parse(text) == moment
    assert times.posted(text) is text
    assert times.normal(text) is text


@given(MOMENTS, st.integers(-23 * 60, 23 * 60), st.text("0123456789", min_size=1, max_size=12))
def test_the_moment_stays_whatever_offset_and_precision_it_is_posted_with(
    moment: dt.datetime, offset_minutes: int, fraction: str
) -> None:
    moment = moment.replace(microsecond=0)
    zone = dt.timezone(dt.timedelta(minutes=offset_minutes))
    local = moment.astimezone(zone).isoformat()
    sent = f"{local[:19]}.{fraction}{local[19:]}"
    posted = times.posted(sent)
    micros = int(fraction[:6].ljust(6, "0"))
    assert posted[:19] == local[:19]
    assert times.parse(times.normal(posted)) == moment.replace(microsecond=micros)
    assert times.normal(times.normal(posted)) == times.normal(posted)
    assert times.posted(posted) is posted
