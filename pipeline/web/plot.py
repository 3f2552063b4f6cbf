"""Bars over time as an SVG has them: where each stands, and what is written beside them. No markup here.

Figures are computed for a fixed drawing area; the style sheet lets it grow and shrink with the page.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.archive.figures.rates import Span, Step

WIDTH, HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 26
SPARK_WIDTH, SPARK_HEIGHT = 144, 26
_GAP = 0.18
"""Share of a bar's place that is left free beside it."""
_LABELS_MAX = 8
_LABEL_WIDTH = 76
_LEAST = 1.5
"""Height of the smallest bar: something was sent, and that is to be seen."""


class Bar(NamedTuple):
    """One step of the span: its place in the drawing, and its bar there, of no height without messages."""

    left: float
    place: float
    """Width of its place, bars and gap."""
    x: float
    y: float
    width: float
    height: float


class Mark(NamedTuple):
    """A text beside the drawing, and where."""

    at: float
    text: str


class Plot(NamedTuple):
    """A drawing of `width` times `height`, whose bars stand on `ground`."""

    width: int
    height: int
    left: int
    ground: int
    bars: list[Bar]
    levels: list[Mark]
    """Horizontal lines with their figures."""
    times: list[Mark]
    """What stands below: when."""


def plot(span: Span, figures: Sequence[int]) -> Plot:
    """Draw one figure for each step of a span."""
    top = _round_up(max(figures, default=0))
    ground = HEIGHT - _BOTTOM
    bars = _bars(figures, top, _Area(_LEFT, WIDTH - _LEFT - _RIGHT, _TOP, ground))
    levels = [Mark(ground - (ground - _TOP) * share / 2, f"{top * share // 2:,}") for share in range(3)]
    if top == 1:
        del levels[1]  # there is no half message
    every = -(-len(bars) // _LABELS_MAX)
    times = [
        Mark(bar.left, label(span.step, start))
        for bar, start in list(zip(bars, span.starts, strict=True))[::every]
        if bar.left <= WIDTH - _LABEL_WIDTH
    ]
    return Plot(WIDTH, HEIGHT, _LEFT, ground, bars, levels, times)


def spark(figures: Sequence[int]) -> Plot:
    """Draw the same small, without anything beside it."""
    bars = _bars(figures, max(figures, default=0) or 1, _Area(0, SPARK_WIDTH, 1, SPARK_HEIGHT - 1))
    return Plot(SPARK_WIDTH, SPARK_HEIGHT, 0, SPARK_HEIGHT - 1, bars, [], [])


def label(step: Step, start_ms: int) -> str:
    """Name a step: ``11-30 13:00``, ``2026-11-30`` or ``2026-11``."""
    form = {"hour": "%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}[step]
    return dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC).strftime(form)


class _Area(NamedTuple):
    """Where bars are drawn."""

    left: float
    width: float
    top: float
    ground: float


def _bars(figures: Sequence[int], full: int, area: _Area) -> list[Bar]:
    place = area.width / max(len(figures), 1)
    bars = []
    for number, figure in enumerate(figures):
        height = max((area.ground - area.top) * figure / full, _LEAST) if figure else 0.0
        start = area.left + place * number
        bars.append(
            Bar(
                round(start, 2),
                round(place, 2),
                round(start + place * _GAP / 2, 2),
                round(area.ground - height, 2),
                round(place * (1 - _GAP), 2),
                round(height, 2),
            )
        )
    return bars


def _round_up(figure: int) -> int:
    """Give the next of 1, 2, 4, 10, 20, 40, 100 …, so that half of it is a round figure too."""
    size = 1
    while True:
        for step in (1, 2, 4):
            if figure <= step * size:
                return step * size
        size *= 10
