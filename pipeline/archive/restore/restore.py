"""Archived messages played back into a log, and proof that they are there (archive contract, section 16).

Every message is checked against its row before it is sent. A journal says at any moment what was sent, so
a run that was interrupted, however, goes on and sends nothing twice. What cannot be sent is named in the
report and stops nothing else. Many messages are shared out among processes where others can open the
archive and the destination too.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline.archive.archive import Archive
from pipeline.archive.restore.journal import VERSION, Begin, Journal, Shared, State, bound, check_same
from pipeline.archive.restore.look import look
from pipeline.archive.restore.plan import make_plan
from pipeline.archive.restore.processes import Elsewhere, run_in_processes
from pipeline.archive.restore.report import Options, Progress, Report, Selection
from pipeline.archive.restore.run import Run, Told, Work
from pipeline.archive.restore.selection import Newest, find_newest
from pipeline.archive.restore.shares import Share, check_unused, merged, run_share, shares_of, split
from pipeline.archive.restore.target import Topics, make_topics, plan_topics
from pipeline.errors import BadInput, Conflict, Unavailable
from pipeline.log.port import Log

__all__ = ["Elsewhere", "Options", "Progress", "Report", "Selection", "restore"]


async def restore(
    archive: Archive,
    destination: Log,
    selection: Selection,
    options: Options,
    *,
    progress: Told = lambda _: None,
    elsewhere: Elsewhere | None = None,
) -> Report:
    """Play the selected messages back into the destination.

    Args:
        archive: Where they are.
        destination: Where they go.
        selection: Which ones.
        options: How.
        progress: Told how far it is.
        elsewhere: Opens archive and destination in other processes; None where only this one can.

    Raises:
        BadInput: An option cannot be used, or a name is no topic's. Nothing was sent.
        NotFound: The archive has no such topic or uuid. Nothing was sent.
        Conflict: A topic of the destination cannot take what is to go there, or the journal belongs to
            another restore or is in use. Nothing was sent.
        Damaged: The journal is no journal. Nothing was sent.
        Unavailable: A part does not answer; with a journal, the same call goes on where this one ended.
    """
    if options.rate < 0:
        raise BadInput("restore messages", f"a rate of {options.rate:g} messages a second is none")
    journal = Journal(None if options.dry_run else options.journal)
    try:
        begun = await journal.open()
        newest = await _newest(archive, selection, options, begun)
        plan = await make_plan(archive.database, selection, options, newest)
        topics = await plan_topics(archive.database, destination, plan, options, archive.clock)
        if options.dry_run:
            return await look(archive, plan, topics, options, progress)
        created = await _make_missing(destination, topics, begun, options)
        work = Work(archive, destination, selection, options, plan, topics.targets)
        report = await _run(work, journal, begun, progress, elsewhere)
        return msgspec.structs.replace(report, created=created, warnings=topics.warnings)
    finally:
        await journal.close()


async def _newest(
    archive: Archive, selection: Selection, options: Options, begun: State | Shared | None
) -> Newest:
    """Give the last row that belongs to a restore, refusing a journal of another one."""
    if begun is None:
        return await find_newest(archive.database)
    header: Begin | Shared = begun.begin if isinstance(begun, State) else begun
    check_same(options.journal, header, selection, options)
    newest = header.newest
    there = await find_newest(archive.database, newest.id)
    if there.id == newest.id and there.uuid != newest.uuid:
        raise Conflict(
            f"go on with the journal {options.journal}",
            "it belongs to another archive: the messages there have other serial numbers",
            "name another file for this one",
        )
    return newest


async def _make_missing(
    destination: Log, topics: Topics, begun: State | Shared | None, options: Options
) -> list[str]:
    """Make the topics a new restore needs; those of one that goes on have to be there."""
    if begun is None:
        return await make_topics(destination, topics.missing)
    if topics.missing:
        names = ", ".join(spec.name for spec in topics.missing)
        raise Conflict(
            f"go on with the journal {options.journal}",
            f"topics it sent to are not there any more: {names}",
            "remove the journal to send everything again",
        )
    return []


async def _run(
    work: Work, journal: Journal, begun: State | Shared | None, progress: Told, elsewhere: Elsewhere | None
) -> Report:
    """Do the work in one run, or in shares when the journal says so or it is worth it."""
    _, _, selection, options, plan, targets, _ = work
    if begun is None and elsewhere is not None:
        shares = split(plan, targets, options)
        if len(shares) > 1:
            await asyncio.to_thread(check_unused, options, len(shares))
            begun = Shared(VERSION, selection, bound(options), plan.newest, targets, shares)
            await journal.write(begun)
    if isinstance(begun, Shared):
        return await _run_shares(work, shares_of(begun, plan, selection, options), progress, elsewhere)
    return await Run(work, journal, progress).whole(begun)


async def _run_shares(
    work: Work, shares: Sequence[Share], progress: Told, elsewhere: Elsewhere | None
) -> Report:
    if elsewhere is None:
        reports = [await run_share(work.archive, work.destination, share, progress) for share in shares]
    else:
        reports = await run_in_processes(shares, elsewhere, progress)
    if work.options.offset_map is not None:
        parts = [share.options.offset_map for share in shares if share.options.offset_map is not None]
        await asyncio.to_thread(_join_files, parts, work.options.offset_map)
    return merged(reports)


def _join_files(parts: Sequence[Path], whole: Path) -> None:
    try:
        with whole.open("wb") as file:
            for part in parts:
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, file)
                part.unlink()
    except OSError as error:
        raise Unavailable(f"write the offset map {whole}", error.strerror or str(error)) from error
