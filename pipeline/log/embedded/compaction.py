"""Compaction: of closed segments only the newest record of each key stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline import limits
from pipeline.errors import Damaged
from pipeline.log.embedded import frame
from pipeline.log.embedded.disk import Disk
from pipeline.log.embedded.partition import Partition
from pipeline.log.embedded.segment import Segment, segment_name
from pipeline.log.embedded.snapshot import SegmentState
from pipeline.log.port import Record
from pipeline.log.record_size import record_size_bytes
from pipeline.log.topic_config import TopicConfig


def compact(
    disk: Disk, partition: Partition, settings: TopicConfig, now_ms: int, *, all_dirty: bool
) -> list[Path]:
    """Rewrite the closed segments of a partition and return the files they replace, not removed yet.

    Nothing happens while compacted segments outweigh the others (min.cleanable.dirty.ratio), unless
    `all_dirty`. The segment that still grows is left alone, so the newest record always stays. Offsets stay
    as they are, with gaps. A tombstone goes when delete.retention.ms have passed since compaction first met
    it.

    Raises:
        OSError: The disk does not take it; nothing changed.
        Damaged: A segment cannot be read; nothing changed.
    """
    closed = partition.segments[:-1]
    dirty = [segment for segment in closed if not segment.state.cleaned_ms]
    closed_bytes = sum(segment.state.size_bytes for segment in closed)
    dirty_bytes = sum(segment.state.size_bytes for segment in dirty)
    if not dirty or (not all_dirty and dirty_bytes < settings.min_dirty_ratio * closed_bytes):
        return []
    newest, covered = _newest_offsets(dirty)
    affected = closed[: closed.index(covered) + 1]
    rewritten = _rewrite_all(
        disk, partition, _groups(affected, settings.segment_bytes), _Keep(newest, settings, now_ms)
    )
    disk.sync_folder(partition.folder)
    # The new files are on disk whole, but no snapshot names them: a crash now brings the old ones back.
    segments = (*rewritten, *partition.segments[len(affected) :])
    partition.set_segments(segments, segments[-1].state.next)
    return [segment.path for segment in affected]


def _rewrite_all(
    disk: Disk, partition: Partition, groups: Sequence[Sequence[Segment]], keep: _Keep
) -> list[Segment]:
    rewritten: list[Segment] = []
    try:
        rewritten.extend(_rewrite(disk, partition, group, keep) for group in groups)
    except (OSError, Damaged):
        for segment in rewritten:
            disk.remove(segment.path)
        raise
    return rewritten


def _newest_offsets(dirty: Sequence[Segment]) -> tuple[dict[bytes, int], Segment]:
    """Return the newest offset of each key, and the last segment this covers within the limit."""
    newest: dict[bytes, int] = {}
    covered = dirty[0]
    for segment in dirty:
        covered = segment
        for record in _records(segment):
            if record.key is not None:
                newest[record.key] = record.offset
        if len(newest) >= limits.LOG_COMPACT_KEYS_MAX:
            break
    return newest, covered


def _records(segment: Segment) -> Iterable[Record]:
    offset = segment.state.base
    while offset < segment.state.next:
        records, offset = segment.read(offset, limits.LOG_FRAME_BYTES)
        yield from records


def _groups(segments: Sequence[Segment], segment_bytes: int) -> list[list[Segment]]:
    """Put neighbours together that fit into one segment."""
    groups: list[list[Segment]] = []
    size_bytes = 0
    for segment in segments:
        if groups and size_bytes + segment.state.size_bytes <= segment_bytes:
            groups[-1].append(segment)
            size_bytes += segment.state.size_bytes
        else:
            groups.append([segment])
            size_bytes = segment.state.size_bytes
    return groups


class _Keep(NamedTuple):
    """Decides which records stay."""

    newest: dict[bytes, int]
    settings: TopicConfig
    now_ms: int

    def keeps(self, record: Record, cleaned_ms: int) -> bool:
        if record.key is None:
            return True
        if self.newest.get(record.key, -1) > record.offset:
            return False
        over = cleaned_ms and cleaned_ms + self.settings.delete_retention_ms <= self.now_ms
        return not (record.value is None and over)


def _rewrite(disk: Disk, partition: Partition, group: Sequence[Segment], keep: _Keep) -> Segment:
    """Write one new segment file that holds what stays of `group`."""
    base, following = group[0].state.base, group[-1].state.next
    path = partition.folder / _fresh_name(partition.folder, base)
    descriptor = disk.open(path, create=True)
    size_bytes = newest_ms = 0
    try:
        for encoded, newest in _frames(group, keep):
            disk.write(descriptor, [encoded], size_bytes)
            size_bytes += len(encoded)
            newest_ms = max(newest_ms, newest)
        disk.sync(descriptor)
    except (OSError, Damaged):
        disk.remove(path)
        raise
    finally:
        disk.close(descriptor)
    cleaned_ms = max(segment.state.cleaned_ms for segment in group) or keep.now_ms
    if any(not segment.state.cleaned_ms for segment in group):
        cleaned_ms = keep.now_ms
    state = SegmentState(path.name, base, following, size_bytes, newest_ms, cleaned_ms)
    return Segment(path, state, partition.place.topic, partition.place.partition)


def _frames(group: Sequence[Segment], keep: _Keep) -> Iterable[tuple[bytes, int]]:
    """Give the new frames with their newest time; together they cover every offset of `group`."""
    kept: list[Record] = []
    size_bytes = 0
    base = group[0].state.base
    for segment in group:
        for record in _records(segment):
            if not keep.keeps(record, segment.state.cleaned_ms):
                continue
            if kept and size_bytes >= limits.LOG_FRAME_BYTES:
                yield frame.build_sparse(kept, base, record.offset), _newest_ms(kept)
                kept, base, size_bytes = [], record.offset, 0
            kept.append(record)
            size_bytes += record_size_bytes(record)
    yield frame.build_sparse(kept, base, group[-1].state.next), _newest_ms(kept)


def _newest_ms(records: Iterable[Record]) -> int:
    return max((record.timestamp_ms for record in records), default=0)


def _fresh_name(folder: Path, base: int) -> str:
    taken = {path.name for path in folder.glob(f"{base:020d}-*")}
    generation = 1
    while segment_name(base, generation) in taken:
        generation += 1
    return segment_name(base, generation)
