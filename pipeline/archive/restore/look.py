"""A restore without sending: what there is, what is missing, what would not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.restore.plan import Plan, PlannedRow, Window
from pipeline.archive.restore.records import Recorder, Standin, fits_surely
from pipeline.archive.restore.report import Failure, Options, Progress, Report
from pipeline.archive.restore.target import Topics
from pipeline.objects.port import ObjectStore


async def look(
    archive: Archive,
    plan: Plan,
    topics: Topics,
    options: Options,
    progress: Callable[[Progress], None],
) -> Report:
    """Look at every object a restore would read and say what would become of it; sends and changes nothing.

    Objects are asked for their size; only messages that may be too large for their topic are read.

    Raises:
        Unavailable: A part does not answer.
    """
    recorder = Recorder(topics.targets, options)
    failures: list[Failure] = []
    failed = placeholders = messages = size_bytes = 0
    async for window in plan.windows():
        found = await _failures(archive.objects, window)
        known = {failure.uuid for failure in found}
        large = [
            row
            for row in window.rows
            if not fits_surely(row, topics.targets[row.topic]) and row.uuid not in known
        ]
        made = await recorder.read(archive.objects, large)
        found += [each for each in made if isinstance(each, Failure)]
        placeholders += sum(isinstance(each, Standin) for each in made)
        failed += len(found)
        failures += found[: limits_archive.RESTORE_FAILURES_SHOWN - len(failures)]
        messages += len(window.rows)
        size_bytes += window.size_bytes
        progress(Progress("looking", messages, plan.messages, size_bytes, plan.bytes))
    return _report(plan, topics, options, failures, failed=failed, placeholders=placeholders)


def _report(
    plan: Plan,
    topics: Topics,
    options: Options,
    failures: list[Failure],
    *,
    failed: int,
    placeholders: int,
) -> Report:
    return Report(
        complete=not failed,
        dry_run=True,
        destination=options.destination,
        selected=plan.messages,
        selected_bytes=plan.bytes,
        sent=0,
        sent_now=0,
        recognised=0,
        placeholders=placeholders,
        failed=failed,
        failures=failures,
        topics=plan.selected(),
        created=[spec.name for spec in topics.missing],
        warnings=topics.warnings,
        delivered=[],
    )


async def _failures(objects: ObjectStore, window: Window) -> list[Failure]:
    """Name the rows of a window whose object is not there or is too short for them."""
    turn = asyncio.Semaphore(limits_archive.RESTORE_READS_AT_ONCE)
    sizes: dict[str, int | None] = {}

    async def ask(key: str) -> None:
        async with turn:
            stat = await objects.stat(key)
            sizes[key] = None if stat is None else stat.size_bytes

    await asyncio.gather(*(ask(key) for key in {row.key for row in window.rows}))
    judged = (_judge(row, sizes[row.key]) for row in window.rows)
    return [each for each in judged if each is not None]


def _judge(row: PlannedRow, size_bytes: int | None) -> Failure | None:
    if size_bytes is None:
        return Failure(row.uuid, row.topic, "missing", f"there is no object {row.key}")
    end = (row.pack_offset or 0) + row.size
    if size_bytes < end or (row.pack_offset is None and size_bytes != end):
        return Failure(
            row.uuid, row.topic, "damaged", f"object {row.key} has {size_bytes} bytes, not {end}"
        )
    return None
