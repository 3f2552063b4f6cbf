"""Shares of a restore: lanes that can be played back apart from the others, and one report of all.

No two shares send to one partition, so each keeps the order of its messages and can tell what it sent from
what others did. A share is a restore of its own, with a journal of its own beside the one of the whole.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.journal import Journal, Shared, check_same
from pipeline.archive.restore.plan import Plan
from pipeline.archive.restore.records import Target
from pipeline.archive.restore.report import Moved, Options, Report, Selection, Verified
from pipeline.archive.restore.run import Run, Told, Work
from pipeline.archive.restore.selection import Lane, Newest, Total, conditions_of_selection
from pipeline.archive.restore.target import keeps_partition
from pipeline.errors import Conflict, Damaged
from pipeline.log.port import Log


class Share(NamedTuple):
    """A part of a restore, all that a process has to know of it."""

    selection: Selection
    options: Options
    """With the files of this share."""
    lanes: list[Lane]
    totals: list[Total]
    newest: Newest
    targets: dict[str, Target]


def split(plan: Plan, targets: Mapping[str, Target], options: Options) -> list[list[Lane]]:
    """Share out the lanes of a plan so that all shares have about as many bytes; one share is all of it.

    In order of time, and at a given rate, nothing can be shared out.
    """
    processors = len(os.sched_getaffinity(0))
    worth = plan.messages // limits_archive.RESTORE_SHARE_MESSAGES
    count = min(processors, limits_archive.RESTORE_PROCESSES_MAX, worth)
    if count <= 1 or options.order == "time" or options.rate:
        return [plan.lanes()]
    groups = _groups(plan, targets, options)
    shares: list[list[Total]] = [[] for _ in range(min(count, len(groups)))]
    for group in sorted(groups, key=_bytes, reverse=True):
        min(shares, key=_bytes).extend(group)
    return [sorted(total.lane for total in share) for share in shares]


def _groups(plan: Plan, targets: Mapping[str, Target], options: Options) -> Collection[list[Total]]:
    """Put together what may go to one partition: lanes that keep theirs, or all of a topic."""
    mixed = {targets[lane.topic].name for lane in plan.lanes() if not keeps_partition(lane, options)}
    groups: dict[tuple[str, int], list[Total]] = {}
    for total in plan.totals():
        name = targets[total.lane.topic].name
        partition = -1 if name in mixed else total.lane.partition
        groups.setdefault((name, partition), []).append(total)
    return groups.values()


def _bytes(totals: Sequence[Total]) -> int:
    return sum(total.bytes for total in totals)


def shares_of(begun: Shared, plan: Plan, selection: Selection, options: Options) -> list[Share]:
    """Give the shares a journal names, as they are now."""
    by_lane = {total.lane: total for total in plan.totals()}
    return [
        Share(
            selection,
            _own_files(options, number),
            lanes,
            [by_lane[lane] for lane in lanes if lane in by_lane],
            begun.newest,
            begun.targets,
        )
        for number, lanes in enumerate(begun.shares, start=1)
    ]


def check_unused(options: Options, count: int) -> None:
    """Refuse to begin beside journals of shares that say what another restore sent.

    Raises:
        Conflict: There is one; its restore's own journal is not there any more.
    """
    paths = [_own(options.journal, number) for number in range(1, count + 1)]
    if left := [str(path) for path in paths if path is not None and path.exists()]:
        raise Conflict(
            f"begin the journal {options.journal}",
            f"journals of another restore are there: {', '.join(left)}",
            "remove them too, or name another file",
        )


def _own_files(options: Options, number: int) -> Options:
    return msgspec.structs.replace(
        options, journal=_own(options.journal, number), offset_map=_own(options.offset_map, number)
    )


def _own(path: Path | None, number: int) -> Path | None:
    return None if path is None else path.with_name(f"{path.name}.{number}")


async def run_share(archive: Archive, destination: Log, share: Share, progress: Told) -> Report:
    """Play a share back, going on with its journal.

    Raises:
        Conflict: The journal belongs to another restore or is in use, or what was sent is not there.
        Damaged: The journal is none. Unavailable: A part does not answer.
    """
    selection, options, lanes, totals, newest, targets = share
    plan = Plan(archive.database, conditions_of_selection(selection, newest), totals, options, newest)
    # One who started this share before and is gone takes a moment to end it.
    journal = Journal(options.journal, wait_seconds=limits_archive.RESTORE_JOURNAL_WAIT_SECONDS)
    try:
        state = await journal.open()
        if isinstance(state, Shared):
            raise Damaged(f"read the journal {options.journal}", "it is one of a restore in shares")
        if state is not None:
            check_same(options.journal, state.begin, selection, options, lanes)
        work = Work(archive, destination, selection, options, plan, targets, lanes)
        return await Run(work, journal, progress).whole(state)
    finally:
        await journal.close()


def merged(reports: Sequence[Report]) -> Report:
    """Make one report of those of all shares."""
    return reduce(_sum, reports)


def _sum(one: Report, other: Report) -> Report:
    return msgspec.structs.replace(
        one,
        complete=one.complete and other.complete,
        selected=one.selected + other.selected,
        selected_bytes=one.selected_bytes + other.selected_bytes,
        sent=one.sent + other.sent,
        sent_now=one.sent_now + other.sent_now,
        recognised=one.recognised + other.recognised,
        placeholders=one.placeholders + other.placeholders,
        failed=one.failed + other.failed,
        failures=[*one.failures, *other.failures][: limits_archive.RESTORE_FAILURES_SHOWN],
        topics=sorted([*one.topics, *other.topics], key=lambda each: (each.topic, each.partition or 0)),
        delivered=sorted([*one.delivered, *other.delivered], key=lambda each: (each.topic, each.partition)),
        offset_map=_joined(one.offset_map, other.offset_map),
        verified=_proof(one.verified, other.verified),
    )


def _joined(one: list[Moved] | None, other: list[Moved] | None) -> list[Moved] | None:
    if one is None or other is None or len(one) + len(other) > limits_archive.RESTORE_RANGES_SHOWN:
        return None
    return [*one, *other]


def _proof(one: Verified | None, other: Verified | None) -> Verified | None:
    if one is None or other is None:
        return None
    return Verified(
        one.equal and other.equal,
        sorted([*one.partitions, *other.partitions], key=lambda each: (each.topic, each.partition)),
        [*one.differences, *other.differences][: limits_archive.RESTORE_FAILURES_SHOWN],
    )
