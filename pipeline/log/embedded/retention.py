"""Retention: dropping the oldest segments by age and size, as a topic asks for."""

from __future__ import annotations

from pathlib import Path

from pipeline.log.embedded.partition import Partition
from pipeline.log.embedded.segment import Segment
from pipeline.log.topic_config import TopicConfig


def drop_expired(partition: Partition, settings: TopicConfig, now_ms: int) -> list[Path]:
    """Take expired segments out of a partition and return their files, which are not removed yet.

    A segment goes when its newest record is older than retention.ms, or when without it there are still
    retention.bytes. The growing segment goes by age only.
    """
    segments = partition.segments
    dropped = _dropped(segments, settings, now_ms)
    if not dropped:
        return []
    flushed = segments[-1].state.next
    kept = segments[dropped:]
    partition.set_segments(kept, flushed)
    partition.set_start(kept[0].state.base if kept else flushed)
    return [segment.path for segment in segments[:dropped]]


def _dropped(segments: tuple[Segment, ...], settings: TopicConfig, now_ms: int) -> int:
    dropped = 0
    left_bytes = sum(segment.state.size_bytes for segment in segments)
    for index, segment in enumerate(segments):
        state = segment.state
        aged = 0 <= settings.retention_ms < now_ms - state.newest_ms
        last = index == len(segments) - 1
        crowded = 0 <= settings.retention_bytes <= left_bytes - state.size_bytes and not last
        if not (aged or crowded):
            break
        left_bytes -= state.size_bytes
        dropped = index + 1
    return dropped
