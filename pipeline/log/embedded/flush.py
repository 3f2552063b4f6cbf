"""Moving frames from memory, where the journal guards them, into segment files."""

from __future__ import annotations

import msgspec

from pipeline import limits
from pipeline.log.embedded.disk import Disk
from pipeline.log.embedded.partition import Batch, Partition
from pipeline.log.embedded.segment import Segment, segment_name
from pipeline.log.embedded.snapshot import SegmentState

_POINT_BYTES = 64 * limits.KIB


def flush(disk: Disk, partition: Partition, segment_bytes: int) -> None:
    """Write the frames of a partition that only the journal has into its segments, and sync them.

    The bytes lie beyond what the snapshot vouches for until the next one is written, so a crash at any
    point leaves either nothing of them or what start cuts off and takes from the journal again.

    Raises:
        OSError: The disk does not take it; nothing changed for readers, and a later call starts anew.
    """
    batches = partition.unflushed()
    while batches:
        segments = partition.segments
        growing = segments[-1] if segments and _grows(segments[-1], segment_bytes) else None
        room_bytes = segment_bytes - (growing.state.size_bytes if growing else 0)
        taken = _take(batches, room_bytes)
        batches = batches[len(taken) :]
        if growing:
            done = _extend(disk, growing, taken)
            segments = segments[:-1]
        else:
            done = _begin(disk, partition, taken)
        partition.set_segments((*segments, done), done.state.next)


def _grows(segment: Segment, segment_bytes: int) -> bool:
    return not segment.state.cleaned_ms and segment.state.size_bytes < segment_bytes


def _take(batches: list[Batch], room_bytes: int) -> list[Batch]:
    taken: list[Batch] = []
    for batch in batches:
        if taken and len(batch.encoded) > room_bytes:
            break
        taken.append(batch)
        room_bytes -= len(batch.encoded)
    return taken


def _extend(disk: Disk, segment: Segment, batches: list[Batch]) -> Segment:
    descriptor = disk.open(segment.path)
    try:
        return _write(disk, descriptor, segment, batches)
    finally:
        disk.close(descriptor)


def _begin(disk: Disk, partition: Partition, batches: list[Batch]) -> Segment:
    base = batches[0].base
    path = partition.folder / segment_name(base, 0)
    disk.make_folder(partition.folder)
    empty = SegmentState(path.name, base, base, 0, 0)
    descriptor = disk.open(path, create=True)
    try:
        segment = Segment(path, empty, partition.place.topic, partition.place.partition)
        segment = _write(disk, descriptor, segment, batches)
    finally:
        disk.close(descriptor)
    disk.sync_folder(partition.folder)
    return segment


def _write(disk: Disk, descriptor: int, segment: Segment, batches: list[Batch]) -> Segment:
    state = segment.state
    points: list[tuple[int, int]] = []
    place = state.size_bytes
    last_point = place - _POINT_BYTES
    for batch in batches:
        if place - last_point >= _POINT_BYTES:
            points.append((batch.base, place))
            last_point = place
        place += len(batch.encoded)
    disk.write(descriptor, [batch.encoded for batch in batches], state.size_bytes)
    disk.sync(descriptor)
    newest_ms = max(state.newest_ms, *(batch.newest_ms for batch in batches))
    state = msgspec.structs.replace(state, next=batches[-1].next, size_bytes=place, newest_ms=newest_ms)
    return segment.grown(state, points)
