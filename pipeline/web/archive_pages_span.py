"""Ranges of time as people give them to the pages of the archive, and times as pages show them. All UTC."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta

from pipeline.archive.figures.rates import LATEST_MS, MILLISECONDS, Span, Step, last_steps, span_of
from pipeline.errors import BadInput
from pipeline.web.routes import Asked

When = Annotated[
    str,
    Meta(max_length=40, description="A time in UTC: `2026-11-30`, `2026-11-30T13:00`; empty: no bound."),
]
STEPS: dict[Step, int] = {"hour": 48, "day": 30, "month": 24}
"""How many of each are shown when no range is asked for."""
_HOURLY_MS = 3 * MILLISECONDS["day"]
_DAILY_MS = 100 * MILLISECONDS["day"]


class SpanAsked(Asked, frozen=True):
    """The range a plot is asked for."""

    step: Annotated[Step | Literal[""], Meta(description="Length of the steps.")] = ""
    start: When = ""
    end: When = ""


def milliseconds(text: str) -> int | None:
    """Read a time, in UTC unless it says otherwise; None when there is none.

    Raises:
        BadInput: It is no time.
    """
    if not text.strip():
        return None
    try:
        moment = dt.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        todo = "write it as 2026-11-30 or 2026-11-30T13:00"
        raise BadInput(f"read the time {text[:40]!r}", str(error), todo) from error


def field_of(time_ms: int | None) -> str:
    """Write a time as a field of a form has it, in whole minutes: ``2026-11-30T13:00``."""
    return "" if time_ms is None else shown_time(time_ms)[:16].replace(" ", "T")


def shown_time(time_ms: int) -> str:
    """Write a time for people: ``2026-11-30 13:00:07.123Z``; one no calendar has stays a number."""
    if not 0 <= time_ms <= LATEST_MS:
        return f"{time_ms} ms"
    moment = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03}Z"


def span_asked(asked: SpanAsked, *, earliest_ms: int, latest_ms: int, now_ms: int) -> Span:
    """Give the span a page shows: what is asked for, else the last steps that hold messages.

    Raises:
        BadInput: A time cannot be read, or the range ends before it begins. TooLarge: Too many steps.
    """
    start, end = milliseconds(asked.start), milliseconds(asked.end)
    newest = min(latest_ms, now_ms) + 1
    if start is None:
        step = asked.step or _step_for(newest - earliest_ms, longest="day")
        return last_steps(step, STEPS[step], newest if end is None else end)
    end = max(newest, start + 1) if end is None else end
    if end <= start:
        raise BadInput("show a range of time", "it ends before it begins")
    return span_of(asked.step or _step_for(end - start, longest="month"), start, end)


def _step_for(length_ms: int, *, longest: Step) -> Step:
    if length_ms <= _HOURLY_MS:
        return "hour"
    return "day" if length_ms <= _DAILY_MS else longest


def around(span: Span) -> tuple[int, int]:
    """Give where the span before this one begins, and where the one behind it ends."""
    length = span.end_ms - span.start_ms
    return max(span.start_ms - length, 0), min(span.end_ms + length, LATEST_MS)
