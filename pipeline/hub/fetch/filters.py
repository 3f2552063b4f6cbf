"""Who receives an event: one filter a consumer, compiled once, asked for every event.

An event is judged by its shape, and shapes come again and again, so what was said of one is remembered;
only sizes out of bounds are looked at anew. Contract: dispatcher section 12, steps 2 to 4.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pipeline import limits
from pipeline.events.names import CONTENT
from pipeline.hub.fetch.glance import Glance, Shape
from pipeline.hub.wanted import Wanted

TOO_DEEP: Final = "FilterTooDeep-too_deep"
SECURITY: Final = "FilterSecurity-max_security"
SOURCE: Final = "FilterConsumerRules-reject_source"
EVENT_TYPE: Final = "FilterConsumerRules-reject_event_type"
SELF: Final = "FilterConsumerRules-reject_self"
TOO_LARGE: Final = "FilterConsumerRules-reject_content_too_large"
TOO_SMALL: Final = "FilterConsumerRules-reject_content_too_small"
STREAM: Final = "FilterConsumerRules-reject_stream"
FILE_FORMAT: Final = "FilterConsumerRules-reject_file_format"
NO_CONTENT: Final = "FilterConsumerRules-reject_no_content"

DEPTH_MAX_TASK: Final = 10
DEPTH_MAX: Final = 11
"""Most hops of an event that is handed out as a task, and otherwise."""

CanRead = Callable[[str, str], bool]
"""Says whether who holds the first marking may read the second; false when that cannot be told."""


class Filter:
    """What one request wants, as judged event by event.

    Args:
        wanted: The request.
        depth_max: Most hops of a binary event.
        can_read: Asked when both markings are there; its answers are remembered.
    """

    def __init__(self, wanted: Wanted, *, depth_max: int, can_read: CanRead) -> None:
        self._wanted = wanted
        self._depth_max = depth_max
        self._can_read = can_read
        self._streams = {label: tuple(starts) for label, starts in wanted.require_streams_map.items()}
        under, over = wanted.require_under_content_size, wanted.require_over_content_size
        self.sized = wanted.model == "binary" and (under > 0 or over > 0)
        """There is a limit on the size of content: `judge_shape` is enough within the bounds only."""
        self.over = max(0, over)
        self.under = under if under > 0 else sys.maxsize
        """The bounds of content sizes in bytes, both allowed."""
        self.judge_shape: Callable[[Shape], str | None] = _Verdicts(self._verdict).__getitem__
        """Judge an event whose content, if it has any, is within the bounds; as `judge`."""

    def judge(self, glance: Glance) -> str | None:
        """Say under which count an event is removed, None when it passes."""
        if self.sized:
            for size in glance.sizes:
                if not self.over <= size <= self.under:
                    return self._verdict(glance.shape, glance.sizes)
        return self.judge_shape(glance.shape)

    def _verdict(self, shape: Shape, sizes: Sequence[int] = ()) -> str | None:
        return next(self._faults(shape, sizes), None)

    def _faults(self, shape: Shape, sizes: Sequence[int]) -> Iterator[str]:
        """Yield why it is removed, in the order of the contract: the first one counts.

        Args:
            shape: What is judged.
            sizes: Of its streams; empty when they are known to be within the bounds.
        """
        wanted = self._wanted
        if wanted.model == "binary" and shape.depth > self._depth_max:
            yield TOO_DEEP
        if wanted.model in {"binary", "download"} and not self._readable(shape.security):
            yield SECURITY
        if wanted.model in {"binary", "status"}:
            yield from self._origin_faults(shape)
        if wanted.model == "binary":
            yield from self._stream_faults(shape, sizes)

    def _readable(self, marking: str) -> bool:
        held = self._wanted.max_security
        return not held or not marking or self._can_read(held, marking)

    def _origin_faults(self, shape: Shape) -> Iterator[str]:
        wanted = self._wanted
        if wanted.require_sources and shape.source not in wanted.require_sources:
            yield SOURCE
        if wanted.require_events and shape.action not in wanted.require_events:
            yield EVENT_TYPE
        if shape.action in wanted.deny_events:
            yield EVENT_TYPE
        if wanted.deny_self and shape.author == wanted.name:
            yield SELF

    def _stream_faults(self, shape: Shape, sizes: Sequence[int]) -> Iterator[str]:
        streams = self._streams
        has_content = False
        for place, (label, file_format) in enumerate(shape.streams):
            if label == CONTENT:
                has_content = True
                if sizes and sizes[place] > self.under:
                    yield TOO_LARGE
                if sizes and sizes[place] < self.over:
                    yield TOO_SMALL
            if streams:
                starts = streams.get(label, streams.get("*"))
                if starts is None:
                    yield STREAM
                elif starts and not file_format.startswith(starts):
                    yield FILE_FORMAT
        if len(streams) > max(1, len(shape.streams)):
            yield STREAM
        if not has_content and (self.sized or self._wanted.require_content):
            yield NO_CONTENT


class _Verdicts(dict[Shape, str | None]):
    """What was said of each shape, as long as there are not too many."""

    def __init__(self, verdict: Callable[[Shape], str | None]) -> None:
        super().__init__()
        self._verdict = verdict

    def __missing__(self, shape: Shape) -> str | None:
        if len(self) >= limits.HUB_VERDICTS_MAX:
            self.clear()
        self[shape] = said = self._verdict(shape)
        return said
